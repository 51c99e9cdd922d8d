"""The commands that ``multirun_scripts/README.md`` shows, run on tiny corpora of the layouts that they name."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
_README = (ROOT / "multirun_scripts" / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    re.sub(r"\s+#.*", "", line)
    for block in re.findall(r"^```\n(.*?)^```", _README, re.DOTALL | re.MULTILINE)
    for line in block.replace("\\\n", "").splitlines()
    if re.match(r"(\w+=\S+ )*multirun_scripts/", line)
]

ROWS = {
    **{"lightrnn_table2": 3, "lightrnn_table3": 4, "lightrnn_figure4": 2, "lightrnn_figure5": 1},
    "lightrnn_table4": 3 + 4,  # KN alone and with each model
    "lightrnn_table5": 3 + 2,  # KN alone and with LightRNN
    **{"slim_table2": 2, "slim_table3": 2, "slim_table4": 2 * 4, "slim_table5": 7},
    "slim_table6": 2 + 4,  # BLEU as listed, and after reranking without and with each model
    "slim_table7": 3,
    **{"slim_figure2": 2, "slim_figure3": 3, "slim_figure4": 4, "slim_figure5": 3},
}
"""The number of rows in the report of a command, with the arguments of :func:`brief`."""

_PTB = tuple(f"data.data_files.{split}=ptb/{split}.parquet" for split in ("train", "validation", "test"))
_BRIEF = (
    *("trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "logger=none", "callbacks=quiet"),
    *("data.batch_size=4", "data.sequence_length=7", "data.eval_batch_size=100"),
)
_BRIEF_TIMING = ("--phases", "inference", "--vocabulary", "1000", "--hidden", "32")


def brief(command: str) -> list[str]:
    """Arguments that a user may add to make the runs of a command brief, or to read Penn Treebank from files."""
    script = script_of(command)
    scale = () if "scale=small" in command else ("scale=small",)
    if script == "slim_table7":
        return [*scale, *_BRIEF_TIMING]
    arguments = [*scale, *_BRIEF]
    # Two rows of long tables and one point of each curve; test_experiments composes the others.
    if script in ("slim_table2", "slim_table3"):
        arguments.append("paper.model=ne,se-10k")
    if re.match(r"slim_figure\d", script):
        arguments.append("paper.ratio=2" if script in ("slim_figure2", "slim_figure4") else "paper.parts=8")
    if "data=pydoc" in command:
        arguments += ["data.vocabulary.max_size=400", "model.hidden_dim=16"]
    return arguments if re.search("data|LIGHTRNN_", command) else [*arguments, *_PTB]


def script_of(command: str) -> str:
    """``slim_table2`` for ``multirun_scripts/slim_table2.sh ...``."""
    return re.findall(r"multirun_scripts/(\w+)\.sh", command)[0]


def commands_of(pattern: str) -> list[str]:
    """The commands whose script matches a regular expression."""
    return [command for command in COMMANDS if re.fullmatch(pattern, script_of(command))]


def write_corpora(folder: Path, text: dict[str, Path]) -> None:
    """Write the files and folders that the commands name, with the lines of ``text`` (one file per split).

    ``aclw`` is the layout of Kim et al. (2016), and ``billionw`` that of the One Billion Word benchmark.  ``ptb``
    contains Penn Treebank's files on the Hugging Face Hub.
    """
    train, valid, test = (text[split].read_text(encoding="utf-8") for split in ("train", "valid", "test"))
    held_out = "heldout-monolingual.tokenized.shuffled/news.en.heldout-0000{}-of-00050"
    files = {
        **{f"aclw/{language}/train.txt": train for language in ("cs", "fr")},
        **{f"aclw/{language}/valid.txt": valid for language in ("cs", "fr")},
        **{f"aclw/{language}/test.txt": test for language in ("cs", "fr")},
        "billionw/training-monolingual.tokenized.shuffled/news.en-00001-of-00100": train,
        "billionw/training-monolingual.tokenized.shuffled/news.en-00002-of-00100": train,
        f"billionw/{held_out.format(0)}": test,
        f"billionw/{held_out.format(1)}": valid,
        **{"train.txt": train, "valid.txt": valid, "test.txt": test},
        **{"dev.nbest": _nbest(valid), "dev.en": valid, "test.nbest": _nbest(test), "test.en": test},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "ptb").mkdir()
    for split, content in (("train", train), ("validation", valid), ("test", test)):
        pq.write_table(pa.table({"sentence": content.splitlines()}), folder / "ptb" / f"{split}.parquet")


def _nbest(text: str) -> str:
    """An n-best list in the Moses format: each line, and its words in reverse order."""
    return "".join(
        f"{number} ||| {' '.join(words)} ||| LM0= {score} ||| {score}\n"
        for number, line in enumerate(text.splitlines())
        for words, score in ((line.split(), -2.0), (line.split()[::-1], -1.0))
    )


def check(command: str, corpora: Path, folder: Path, commands: Path) -> None:
    """Run a command as a user does who has copied it from the README, and check its exit status and its report.

    Args:
        command: One of ``COMMANDS``; it is run with the arguments of :func:`brief`.
        corpora: The folder that :func:`write_corpora` has written.
        folder: The working folder, initially empty.
        commands: A folder with the installed commands, which start without importing.
    """
    for path in corpora.iterdir():
        (folder / path.name).symlink_to(path)
    shown = command.replace("multirun_scripts/", f"{shlex.quote(str(ROOT))}/multirun_scripts/")
    environment = {key: value for key, value in os.environ.items() if key not in ("LANGUAGES", "FOLDER")}
    environment |= {
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), environment["PATH"]]),
        "LIGHTRNN_CACHE": str(folder / "cache"),
        **{"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    }
    done = subprocess.run(
        ["bash", "-c", " ".join([shown, *brief(command)])],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (report,) = folder.glob("multirun/*/report")
    assert (report / "report.html").is_file() and (report / "report.md").is_file()
    rows = list(csv.DictReader((report / "report.csv").read_text(encoding="utf-8").splitlines()))
    assert len({row["label"] for row in rows}) == len(rows) == ROWS[script_of(command)], rows
    for row in rows:
        assert row["perplexity"] or row["bleu"] or row["cpu_seconds"], row
        assert row["n"] == "2" or "seed=0,1" not in command, row
