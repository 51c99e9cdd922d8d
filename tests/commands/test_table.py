"""``lightrnn-table`` as people type it: shows, compares, exports and grows the table of a small trained model."""

import json
import math
import sys

import pytest

from lightrnn_pl import load
from lightrnn_pl.allocation.allocation_file import read_table
from lightrnn_pl.cli.commands import evaluate as evaluate_main
from lightrnn_pl.cli.commands import table as main
from lightrnn_pl.training.experiment import train
from tests.training.runs import compose_run

ROOM = ("model.sides=[7,8]", "trainer.max_steps=8", "seed=1")
"""49 words in 56 cells: the last row has one word and room for seven."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text):
    folder = tmp_path_factory.mktemp("trained")
    train(compose_run(folder / "run", tiny_text, *ROOM))
    train(compose_run(folder / "full", tiny_text, "model=full", "trainer.max_steps=1"))
    return folder


@pytest.fixture
def table(trained, tmp_path, monkeypatch, capsys):
    """Runs the command in this process and returns what it printed and its report."""
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
def refused(table, capsys):
    """The error line of a call that must fail."""

    def run(*arguments: str, **settings) -> str:
        with pytest.raises(SystemExit) as end:
            table(*arguments, **settings)
        told = capsys.readouterr().err
        assert end.value.code == 2 and told.startswith("error: ") and "Traceback" not in told
        return told

    return run


def test_shows_the_heaviest_rows(trained, table):
    told, report = table("rows=3", "limit=4")
    bundle = load(trained / "run")
    assert (report["sides"], report["words"], report["empty_cells"], report["cells_to_grow_into"]) == ([7, 8], 49, 7, 7)
    assert report["table"] == bundle.model.allocation.fingerprint() and report["table"][:16] in told
    counts, rows = bundle.vocabulary.counts, bundle.model.allocation.codes[:, 0].numpy()
    mass = sorted(((int(counts[rows == row].sum()), -row) for row in range(7)), reverse=True)
    shown = report["typical"]["codes"]
    assert [line["code"] for line in shown] == [-row for _, row in mass[:3]]
    assert shown[0]["share"] == pytest.approx(mass[0][0] / counts.sum())
    for line in shown:
        members = [word for number, word in enumerate(bundle.vocabulary.words) if rows[number] == line["code"]]
        assert line["words"] == members[:4] and " ".join(members[:4]) in told
    _, report = table("axis=column")
    assert len(report["typical"]["codes"]) == 8 and len(report["typical"]["codes"][0]["words"]) <= 7


def test_shows_a_word_and_its_neighbours(trained, table, refused):
    bundle = load(trained / "run")
    codes = bundle.model.allocation.codes
    told, report = table("word=w01", "limit=3")
    number = bundle.vocabulary.words.index("w01")
    assert report["word"]["codes"] == codes[number].tolist() and f"row {int(codes[number, 0])}" in told
    for axis, name in enumerate(("row", "column")):
        others = (codes[:, axis] == codes[number, axis]).nonzero()[:, 0].tolist()
        expected = [bundle.vocabulary.words[other] for other in others if other != number]
        assert report["word"]["neighbours"][name] == expected[:3]
    told = refused("word=W011")
    assert "'W011'" in told and "spelled alike" in told and "'w01'" in told


def test_exports_and_compares(trained, table, tmp_path):
    _, report = table("export=table.tsv")
    bundle = load(trained / "run")
    codes, _ = read_table("table.tsv", bundle.vocabulary.words)
    assert codes.tolist() == bundle.model.allocation.codes.tolist() and report["export"] == "table.tsv"
    assert table("compare=table.tsv")[1]["compare"]["words_moved"] == 0
    # Two words change places.
    lines = (tmp_path / "table.tsv").read_text().splitlines()
    first, last = lines[1].split("\t"), lines[30].split("\t")
    lines[1], lines[30] = "\t".join([first[0], *last[1:]]), "\t".join([last[0], *first[1:]])
    (tmp_path / "other.tsv").write_text("\n".join(lines) + "\n")
    told, report = table("compare=other.tsv", "rows=1")
    found = report["compare"]
    counts = bundle.vocabulary.counts
    assert found["words_moved"] == 2 and found["words_compared"] == 49
    assert found["share_of_text"] == pytest.approx((counts[0] + counts[29]) / counts.sum())
    moved = {word: (group["from_row"], group["to_row"]) for group in found["groups"] for word in group["words"]}
    assert moved == {first[0]: (int(last[1]), int(first[1])), last[0]: (int(first[1]), int(last[1]))}
    assert "2 of 49 words moved" in told


def test_grows_into_empty_cells(trained, table, tmp_path, tiny_text, monkeypatch, capsys):
    source = (trained / "run" / "best.ckpt").read_bytes()
    text = tiny_text["test"].read_text()
    news = "w01 brand-new w02\n" * 4 + "w03 other w04\n" * 3 + "once\n" + "w05 <unk> w06\n"
    (tmp_path / "new.txt").write_text(text + news)
    told, report = table("grow=new.txt", "output=grown.ckpt", "max_words=5")
    growth = report["growth"]
    assert [(line["word"], line["count"]) for line in growth["words"]] == [("brand-new", 4), ("other", 3)]
    assert growth["without_cell"]["words"] == 0 and growth["cells"] == 7
    assert "2 new words" in told and "not comparable" in told
    assert (trained / "run" / "best.ckpt").read_bytes() == source

    before, after = load(trained / "run"), load("grown.ckpt")
    assert after.vocabulary.words == (*before.vocabulary.words, "brand-new", "other")
    assert after.model.allocation.codes[:49].tolist() == before.model.allocation.codes.tolist()
    assert after.protocol == {**before.protocol, "vocabulary_size": 51, "grown_words": 2}
    assert after.metrics["growth"][0]["table"] == after.model.allocation.fingerprint()
    line = "w01 brand-new w02"
    assert after.score([line]) != before.score([line])
    # What is printed is what evaluating the two files says.
    (tmp_path / "grown.json").unlink(missing_ok=True)
    for checkpoint, key in ((trained / "run", "nll_before"), ("grown.ckpt", "nll")):
        arguments = [f"checkpoint={checkpoint}", "text=new.txt", "json=judged.json", "device=cpu"]
        monkeypatch.setattr(sys, "argv", ["lightrnn-evaluate", *arguments])
        evaluate_main()
        judged = json.loads((tmp_path / "judged.json").read_text())["splits"]["test"]
        assert judged["nll"] == pytest.approx(growth[key], rel=1e-5) and judged["tokens"] == growth["tokens"]
    unknown = growth["unknown_tokens_before"]
    assert (growth["unknown_tokens"], unknown) == (2, 9) and growth["new_tokens"] == 7
    # 7 of the 9 unknown tokens are one of 2 new words.
    shared = 7 * math.log(2 / (7 / 9)) - 2 * math.log(2 / 9)
    assert growth["nll_before_shared"] == pytest.approx(growth["nll_before"] + shared / growth["tokens"])
    parts = growth["known_nll"] * growth["known_tokens"] + growth["new_nll"] * growth["new_tokens"]
    assert parts < growth["nll"] * growth["tokens"]  # the unknown word's own tokens are in neither part

    # A grown model can be looked at, compared with its source, and grown again.
    _, report = table(f"compare={trained / 'run'}", "word=other", checkpoint="grown.ckpt")
    assert (report["compare"]["words_moved"], report["compare"]["only_here"]) == (0, 2)
    (tmp_path / "more.txt").write_text(" ".join(f"n{number}" for number in range(7)) + "\n")
    _, report = table("grow=more.txt", "output=more.ckpt", "min_count=1", checkpoint="grown.ckpt")
    assert len(report["growth"]["words"]) == 5 and report["growth"]["without_cell"]["words"] == 2
    assert len(load("more.ckpt").metrics["growth"]) == 2
    capsys.readouterr()


def test_what_cannot_be_done_is_one_line(trained, refused, tmp_path):
    (tmp_path / "new.txt").write_text("brand new brand new\n")
    run = trained / "run"
    for arguments, message in (
        (("axis=depth",), "axis=depth is no axis of the table; choose one of row, column"),
        (("rows=0",), "rows must be a whole number"),
        (("compare=nowhere.tsv",), "no word table at nowhere.tsv"),
        (("compare=nowhere",), "no checkpoint at nowhere"),
        (("export=table.xls",), "cannot tell the format"),
        (("output=grown.ckpt",), "give grow=new_text.txt"),
        (("grow=new.txt",), "output=grown.ckpt"),
        (("grow=nowhere.txt", "output=grown.ckpt"), "no text at nowhere.txt"),
        (("grow=new.txt", f"output={run / 'best.ckpt'}"), "is the model that is to grow"),
        (("grow=new.txt", f"output={run}"), "is a folder; give a file"),
        (("grow=new.txt", "output=grown.ckpt", "min_count=3"), "2 words that the vocabulary lacks, none of them"),
    ):
        assert message in refused(*arguments), arguments
    assert "has no word table" in refused(checkpoint=trained / "full")
    assert "no checkpoint at nowhere" in refused(checkpoint="nowhere")
    assert "is a table without counts or weights" in refused(checkpoint="table.tsv")
    assert not (tmp_path / "grown.ckpt").exists()


def test_help_needs_no_torch(tmp_path):
    from tests.commands.test_commands import in_process

    told = in_process("table", ["--help"], tmp_path)
    assert "usage: lightrnn-table" in told.stdout and "HEAVY []" in told.stdout, told.stderr
    assert not list(tmp_path.iterdir())
