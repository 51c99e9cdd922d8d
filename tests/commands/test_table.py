"""``lightrnn-table``: inspects, compares, exports and grows the table of a small trained model."""

import json
import math
import sys

import pytest

from lightrnn_pl import load
from lightrnn_pl.allocation.allocation_file import read_table
from lightrnn_pl.cli.entry_points import evaluate as evaluate_main
from lightrnn_pl.cli.entry_points import table as main
from lightrnn_pl.training.experiment import train
from tests.scripts import imports_of
from tests.training.runs import compose_run

WITH_EMPTY_CELLS = ("model.sides=[7,8]", "trainer.max_steps=8", "seed=1")
"""49 words in 56 cells: the last row has one word and seven empty cells."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text):
    folder = tmp_path_factory.mktemp("trained")
    train(compose_run(folder / "run", tiny_text, *WITH_EMPTY_CELLS))
    train(compose_run(folder / "full", tiny_text, "model=full", "trainer.max_steps=1"))
    return folder


@pytest.fixture
def table(trained, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; returns standard output and its report."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str, checkpoint=trained / "run"):
        monkeypatch.setattr(
            sys, "argv", ["lightrnn-table", f"checkpoint={checkpoint}", "json=report.json", "device=cpu", *arguments]
        )
        main()
        return capsys.readouterr().out, json.loads((tmp_path / "report.json").read_text())

    return run


@pytest.fixture
def table_error(table, capsys):
    """Runs the command, which must fail, and returns the error message."""

    def run(*arguments: str, **settings) -> str:
        with pytest.raises(SystemExit) as end:
            table(*arguments, **settings)
        error = capsys.readouterr().err
        assert end.value.code == 2 and error.startswith("error: ") and "Traceback" not in error
        return error

    return run


def test_prints_the_most_frequent_rows(trained, table):
    output, report = table("rows=3", "limit=4")
    bundle = load(trained / "run")
    assert (report["sides"], report["words"], report["empty_cells"], report["cells_to_grow_into"]) == ([7, 8], 49, 7, 7)
    assert report["table"] == bundle.model.allocation.fingerprint() and report["table"][:16] in output
    counts, rows = bundle.vocabulary.counts, bundle.model.allocation.codes[:, 0].numpy()
    mass = sorted(((int(counts[rows == row].sum()), -row) for row in range(7)), reverse=True)
    codes = report["typical"]["codes"]
    assert [code["code"] for code in codes] == [-row for _, row in mass[:3]]
    assert codes[0]["share"] == pytest.approx(mass[0][0] / counts.sum())
    for code in codes:
        members = [word for number, word in enumerate(bundle.vocabulary.words) if rows[number] == code["code"]]
        assert code["words"] == members[:4] and " ".join(members[:4]) in output
    _, report = table("axis=column")
    assert len(report["typical"]["codes"]) == 8 and len(report["typical"]["codes"][0]["words"]) <= 7


def test_prints_a_word_and_those_with_the_same_codes(trained, table, table_error):
    bundle = load(trained / "run")
    codes = bundle.model.allocation.codes
    output, report = table("word=w01", "limit=3")
    number = bundle.vocabulary.words.index("w01")
    assert report["word"]["codes"] == codes[number].tolist() and f"row {int(codes[number, 0])}" in output
    for axis, name in enumerate(("row", "column")):
        others = (codes[:, axis] == codes[number, axis]).nonzero()[:, 0].tolist()
        expected = [bundle.vocabulary.words[other] for other in others if other != number]
        assert report["word"]["neighbours"][name] == expected[:3]
    error = table_error("word=W011")
    assert "'W011'" in error and "did you mean" in error and "'w01'" in error


def test_exports_and_compares(trained, table, tmp_path):
    _, report = table("export=table.tsv")
    bundle = load(trained / "run")
    codes, _ = read_table("table.tsv", bundle.vocabulary.words)
    assert codes.tolist() == bundle.model.allocation.codes.tolist() and report["export"] == "table.tsv"
    assert table("compare=table.tsv")[1]["compare"]["words_moved"] == 0
    # Exchange two words.
    lines = (tmp_path / "table.tsv").read_text().splitlines()
    first, last = lines[1].split("\t"), lines[30].split("\t")
    lines[1], lines[30] = "\t".join([first[0], *last[1:]]), "\t".join([last[0], *first[1:]])
    (tmp_path / "other.tsv").write_text("\n".join(lines) + "\n")
    output, report = table("compare=other.tsv", "rows=1")
    result = report["compare"]
    counts = bundle.vocabulary.counts
    assert result["words_moved"] == 2 and result["words_compared"] == 49
    assert result["share_of_text"] == pytest.approx((counts[0] + counts[29]) / counts.sum())
    rows = {word: (group["from_row"], group["to_row"]) for group in result["groups"] for word in group["words"]}
    assert rows == {first[0]: (int(last[1]), int(first[1])), last[0]: (int(first[1]), int(last[1]))}
    assert "2 of 49 words reallocated" in output


def test_grows_into_empty_cells(trained, table, tmp_path, tiny_text, monkeypatch, capsys):
    source = (trained / "run" / "best.ckpt").read_bytes()
    text = tiny_text["test"].read_text()
    new_lines = "w01 brand-new w02\n" * 4 + "w03 other w04\n" * 3 + "once\n" + "w05 <unk> w06\n"
    (tmp_path / "new.txt").write_text(text + new_lines)
    output, report = table("grow=new.txt", "output=grown.ckpt", "max_words=5")
    growth = report["growth"]
    assert [(entry["word"], entry["count"]) for entry in growth["words"]] == [("brand-new", 4), ("other", 3)]
    assert growth["without_cell"]["words"] == 0 and growth["cells"] == 7
    assert "2 new words" in output and "not comparable" in output
    assert (trained / "run" / "best.ckpt").read_bytes() == source

    before, after = load(trained / "run"), load("grown.ckpt")
    assert after.vocabulary.words == (*before.vocabulary.words, "brand-new", "other")
    assert after.model.allocation.codes[:49].tolist() == before.model.allocation.codes.tolist()
    assert after.protocol == {**before.protocol, "vocabulary_size": 51, "grown_words": 2}
    assert after.metrics["growth"][0]["table"] == after.model.allocation.fingerprint()
    line = "w01 brand-new w02"
    assert after.score([line]) != before.score([line])
    # The reported losses equal those of lightrnn-evaluate.
    (tmp_path / "grown.json").unlink(missing_ok=True)
    for checkpoint, key in ((trained / "run", "nll_before"), ("grown.ckpt", "nll")):
        arguments = [f"checkpoint={checkpoint}", "text=new.txt", "json=evaluated.json", "device=cpu"]
        monkeypatch.setattr(sys, "argv", ["lightrnn-evaluate", *arguments])
        evaluate_main()
        result = json.loads((tmp_path / "evaluated.json").read_text())["splits"]["test"]
        assert result["nll"] == pytest.approx(growth[key], rel=1e-5) and result["tokens"] == growth["tokens"]
    unknown = growth["unknown_tokens_before"]
    assert (growth["unknown_tokens"], unknown) == (2, 9) and growth["new_tokens"] == 7
    # Of 9 unknown tokens, 7 are occurrences of the 2 new words.
    shared = 7 * math.log(2 / (7 / 9)) - 2 * math.log(2 / 9)
    assert growth["nll_before_shared"] == pytest.approx(growth["nll_before"] + shared / growth["tokens"])
    parts = growth["known_nll"] * growth["known_tokens"] + growth["new_nll"] * growth["new_tokens"]
    assert parts < growth["nll"] * growth["tokens"]  # tokens of the unknown word are in neither part

    # A grown model can be inspected, compared with its source, and grown again.
    _, report = table(f"compare={trained / 'run'}", "word=other", checkpoint="grown.ckpt")
    assert (report["compare"]["words_moved"], report["compare"]["only_here"]) == (0, 2)
    (tmp_path / "more.txt").write_text(" ".join(f"n{number}" for number in range(7)) + "\n")
    _, report = table("grow=more.txt", "output=more.ckpt", "min_count=1", checkpoint="grown.ckpt")
    assert len(report["growth"]["words"]) == 5 and report["growth"]["without_cell"]["words"] == 2
    assert len(load("more.ckpt").metrics["growth"]) == 2
    capsys.readouterr()


def test_errors_are_one_line(trained, table_error, tmp_path):
    (tmp_path / "new.txt").write_text("brand new brand new\n")
    run = trained / "run"
    for arguments, message in (
        (("axis=depth",), "axis=depth is not an axis of the table; choose one of row, column"),
        (("rows=0",), "rows must be an integer"),
        (("compare=nowhere.tsv",), "word table nowhere.tsv does not exist"),
        (("compare=nowhere",), "no checkpoint at nowhere"),
        (("export=table.xls",), "unknown suffix"),
        (("output=grown.ckpt",), "requires grow=TEXT"),
        (("grow=new.txt",), "output=grown.ckpt"),
        (("grow=nowhere.txt", "output=grown.ckpt"), "text file nowhere.txt does not exist"),
        (("grow=new.txt", f"output={run / 'best.ckpt'}"), "is the source model"),
        (("grow=new.txt", f"output={run}"), "is a folder; pass a file"),
        (("grow=new.txt", "output=grown.ckpt", "min_count=3"), "2 words outside the vocabulary, none of which occurs"),
    ):
        assert message in table_error(*arguments), arguments
    assert "has no word table" in table_error(checkpoint=trained / "full")
    assert "no checkpoint at nowhere" in table_error(checkpoint="nowhere")
    assert "is a table without counts or weights" in table_error(checkpoint="table.tsv")
    assert not (tmp_path / "grown.ckpt").exists()


def test_help_does_not_import_torch(tmp_path):
    done = imports_of("table", ["--help"], tmp_path)
    assert "usage: lightrnn-table" in done.stdout and "HEAVY []" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())
