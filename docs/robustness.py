"""Runs the robustness suites and writes ``docs/reference/robustness.md``.

python docs/robustness.py                            # the tests, and the chaos suite with 200 kills
python docs/robustness.py --kills 0                  # only the tests
python docs/robustness.py --chaos chaos.txt          # the tests, and the output of an earlier run of the chaos suite
LIGHTRNN_FUZZ=20 python docs/robustness.py           # with twenty times as many random changes
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]

INTRODUCTION = """# Robustness

Hostile and damaged files, kills, full disks and load. Each row is a test of `tests/robustness` (`SECURITY.md` states
what it protects). Every try must end in one of two ways: the input is refused in one line, or the result is correct.
This page is written by `python docs/robustness.py`.

## Texts

Texts are UTF-8, optionally compressed (`.gz`, `.bz2`, `.xz`). Lines end at LF, CR LF or CR. Words are separated as by
Python's `str.split`, unless [a tokenizer is set](../guides/train_on_your_text.md#raw-text): by spaces and tabs, and by
all Unicode spaces, including no-break spaces (U+00A0), ideographic spaces (U+3000), and line and paragraph separators
(U+2028, U+2029). A zero-width space (U+200B) does not separate words. A byte order mark at the beginning of an
uncompressed file is removed. A marker inside of the text, such as `<eos>` or `<unk>`, is the same word as the marker
that is added to lines. Letters are not normalized.

## Results
"""


def test_rows() -> tuple[list[str], bool]:
    """One row of the table for each test, and whether all passed."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        options = ["-q", f"--junitxml={results}", "-o", "junit_family=xunit1"]
        subprocess.run(
            [sys.executable, "-m", "pytest", "tests/robustness", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        cases = ElementTree.parse(results).getroot().iter("testcase")
        counts: dict[tuple[str, str], list[int]] = {}
        for case in cases:
            if case.find("skipped") is not None:
                continue
            name = case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")
            row = counts.setdefault((case.get("classname", "").rpartition(".test_")[2], name), [0, 0])
            properties = {item.get("name"): item.get("value") for item in case.iter("property")}
            tries = int(properties.get("tries") or 1)
            failed = any(case.find(kind) is not None for kind in ("failure", "error"))
            row[0] += tries
            row[1] += 0 if failed else tries
    rows = [f"| {file}: {name} | {tries:,} | {passed:,} |" for (file, name), (tries, passed) in counts.items()]
    return rows, all(tries == passed for tries, passed in counts.values())


def chaos_rows(kills: int) -> tuple[list[str], bool]:
    """The rows of the chaos suite, and whether all passed."""
    command = [sys.executable, "tests/robustness/chaos.py", "--kills", str(kills)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return table_rows(done.stdout), done.returncode == 0


def table_rows(text: str) -> list[str]:
    """The rows of a Markdown table, without its head."""
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| test")]
    return [row for row in rows if "---" not in row]


def passed_all(rows: list[str]) -> bool:
    """Whether the numbers of tries and of passed ones are equal in all rows."""
    return all(tries == passed for tries, passed in (row.split("|")[2:4] for row in rows))


def main() -> None:
    """Run everything, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="kills of the chaos suite; 0 skips it")
    parser.add_argument("--chaos", type=Path, help="a file with the output of an earlier run of the chaos suite")
    arguments = parser.parse_args()
    rows, passed = test_rows()
    if arguments.chaos:
        earlier = table_rows(arguments.chaos.read_text(encoding="utf-8"))
        rows, passed = rows + earlier, passed and passed_all(earlier)
    elif arguments.kills:
        more, survived = chaos_rows(arguments.kills)
        rows, passed = rows + more, passed and survived
    table = ["| test | tries | passed |", "| --- | ---: | ---: |", *rows]
    page = ROOT / "docs" / "reference" / "robustness.md"
    page.write_text(INTRODUCTION + "\n" + "\n".join(table) + "\n", encoding="utf-8")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
