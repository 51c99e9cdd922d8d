"""The table of results."""

from typing import Any

import pytest

from lightrnn_pl.number_text import batch_limit_text
from lightrnn_pl.training.tracking.console import print_model, print_results, print_typical_words
from tests.export.bundles import bundle_of


def run(perplexities: list[float | None], epochs: list[float]) -> dict[str, Any]:
    history = [{"epoch": epoch, "valid_perplexity": value} for epoch, value in zip(epochs, perplexities, strict=True)]
    rounds = [{"valid_perplexity": value} for value in perplexities if value]
    return {
        **{"parameters": 12_345, "words_per_second": 1000.0, "seconds": 60.0},
        **{"history": history, "rounds": rounds, "test": {"perplexity": 99.0}},
    }


@pytest.mark.parametrize("columns", ["80", "140"])
def test_epochs_and_those_of_the_best_model(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    runs = {"a": run([120.0, 100.0, 101.0], [1, 2, 3]), "b": run([90.0], [0.5]), "c": run([None], [1])}
    print_results(runs)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(columns) and "…" not in "".join(lines)
    cells = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]] for line in lines if "│" in line
    }
    assert cells["a"][:2] == ["12,345", "3 (2)"] and cells["b"][1] == "0.5 (0.5)" and cells["c"][1] == "-"


def test_a_limited_validation_is_marked(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    limited = {**run([120.0], [1]), "validation": {"perplexity": 1234.5}}
    limited["validation_limit"] = batch_limit_text({"limit_val_batches": 3}, "limit_val_batches", "overfit_batches")
    print_results({"a": limited, "b": {**run([90.0], [1]), "validation_limit": None}})
    assert capsys.readouterr().out.splitlines()[-1] == (
        "validation by round of a: a part of the text (trainer.limit_val_batches=3); the whole text: 1,234.50"
    )
    print_results({"b": run([90.0], [1])})
    assert "part of the text" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["row_word_adaptive-eltec-french", "lightrnn-table5-lightrnn-ptb", "unbreakable" * 3])
def test_numbers_are_never_cut_off(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    result = {**run([139.51], [0.11]), "parameters": 124_571_448, "words_per_second": 123_829.0, "seconds": 25_512.3}
    print_results({name: result})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and len({len(line) for line in lines if line.strip()[:1] in "┏┃┡│└"}) == 1
    numbers = [cell.strip() for cell in next(line for line in lines if "99.0" in line).split("│")[2:-1]]
    assert numbers == ["124,571,448", "0.11 (0.11)", "139.5", "99.0", "123,829", "25512"]


def test_names_are_broken_between_words(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    names = ["lightrnn-text", "lightrnn-table3-lightrnn-aclw-small", "full softmax"]
    print_results({name: run([1234.5, 1200.1, 1100.7, 1099.2], [10, 20, 30, 40]) for name in names})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
    cells = [line.split("│")[1].strip() for line in lines if "│" in line]
    assert list(filter(None, cells)) == [names[0], "lightrnn-table3-", "lightrnn-aclw-small", names[2]]


def test_of_typical_words_only_the_words_are_cut_off(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    words = [f"word{number}" for number in range(40)]
    print_typical_words({"rows": [{"code": 123, "share": 0.123, "words": words}]})
    title, row = capsys.readouterr().out.splitlines()
    assert title.strip() == "most frequent rows" and len(row) <= 80
    assert row.split()[:4] == ["123", "12.3%", "word0", "word1"] and row.rstrip().endswith("…")


@pytest.mark.parametrize(
    ("name", "maps"), [("slim", ["embedding map", "output map"]), ("lightrnn", []), ("projected", [])]
)
def test_maps_of_shared_vectors_have_rows_of_their_own(name, maps, capsys):
    model = bundle_of(name).model
    print_model(model)
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    kib = {row[0].strip(): row[-1].strip() for row in rows}
    assert [row for row in kib if row.endswith("map")] == maps
    parts = sum(float(value.replace(",", "")) for row, value in kib.items() if row != "all")
    assert parts == pytest.approx(float(kib["all"].replace(",", "")), abs=0.3)


@pytest.mark.parametrize(("name", "tied"), [("full", True), ("hashed", False)])
def test_parameters_that_two_parts_share_are_explained(name, tied, capsys):
    print_model(bundle_of(name).model)
    assert ("share vectors, which are counted once" in " ".join(capsys.readouterr().out.split())) == tied
