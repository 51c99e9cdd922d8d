import csv
import io
import shlex

import pytest
from rich.console import Console

from lightrnn_pl.reporting.paper_tables import PaperRow, paper_tables
from lightrnn_pl.reporting.report_rows import Row, group_rows
from lightrnn_pl.reporting.run_groups import Spread, group_runs
from lightrnn_pl.reporting.runs import find_runs
from lightrnn_pl.reporting.tables import (
    command_table,
    csv_text,
    failure_table,
    for_terminal,
    markdown,
    result_tables,
    typical_table,
)
from tests.reporting.folders import make_run


def rows_of(folder) -> list[Row]:
    return group_rows(group_runs(find_runs([folder])))


def paper(row: str, table: str = "slim_table2", scale: str = "small") -> dict[str, str]:
    return {"table": table, "row": row, "scale": scale}


def row_of(table, label: str) -> dict[str, str]:
    (cells,) = [row for row in table.rows if row[0] == label]
    return dict(zip(table.header, cells, strict=True))


def test_a_row_has_mean_deviation_and_the_papers_value(tmp_path):
    make_run(tmp_path / "0", 0, 100.0, paper=paper("SE 10K"))
    make_run(tmp_path / "1", 1, 104.0, paper=paper("SE 10K"))
    (table,) = result_tables(rows_of(tmp_path))
    assert "Table 2" in table.title
    row = row_of(table, "SE 10K (small)")
    assert row["test perplexity"] == "102.00 ± 2.83" and row["validation perplexity"] == "107.00 ± 2.83"
    assert row["seeds"] == "2 (0, 1)" and row["paper: perplexity"] == "89.06" and row["rounds"] == "2"
    assert (row["parameters"], row["MB"], row["MB of tables"]) == ("401,800", "1.61", "0.04")


def test_a_table_contains_all_rows_of_the_paper_in_order(tmp_path):
    make_run(tmp_path / "0", paper=paper("SE 10K"))
    (table,) = result_tables(rows_of(tmp_path))
    rows = list(paper_tables()["slim_table2"].rows)
    assert [row[0].removesuffix(" (small)") for row in table.rows] == rows
    assert row_of(table, "NE")["test perplexity"] == "–" and row_of(table, "NE")["paper: perplexity"] == "89.54"


def test_small_runs_are_labeled(tmp_path):
    make_run(tmp_path / "0", paper=paper("NE"))
    make_run(tmp_path / "1", paper=paper("NE", scale="paper"))
    (table,) = result_tables(rows_of(tmp_path))
    assert [row[0] for row in table.rows[:2]] == ["NE scale=small", "NE scale=paper"]
    assert any("do not reproduce" in note for note in table.notes)
    (alone,) = result_tables(rows_of(tmp_path / "1"))
    assert not any("do not reproduce" in note for note in alone.notes)
    assert any("The paper's values are shown" in note for note in table.notes)
    make_run(tmp_path / "2", paper=paper("LightRNN", "lightrnn_figure4"))
    (without_values,) = result_tables(rows_of(tmp_path / "2"))
    assert not any("values" in note for note in without_values.notes) and without_values.notes


def test_notes_on_deviations_from_the_paper_are_shown(tmp_path):
    make_run(tmp_path / "0", paper={**paper("SE 10K"), "note": "half the parameters"})
    make_run(tmp_path / "1", paper={**paper("NE"), "note": None})
    (table,) = result_tables(rows_of(tmp_path))
    assert [note for note in table.notes if note.startswith(("SE", "NE"))] == ["SE 10K: half the parameters"]
    assert "half the parameters" in markdown(table)


def test_runs_without_a_paper_have_their_own_table(tmp_path):
    make_run(tmp_path / "0", paper=paper("NE"))
    make_run(tmp_path / "1", name="mine")
    assert [table.title for table in result_tables(rows_of(tmp_path))][-1] == "Results"
    assert result_tables(rows_of(tmp_path))[-1].rows[0][0] == "mine"


def test_columns_without_values_are_omitted(tmp_path):
    make_run(tmp_path / "0", metrics={"test": None})
    (table,) = result_tables(rows_of(tmp_path))
    assert "test perplexity" not in table.header and "test BLEU" not in table.header
    assert "validation perplexity" in table.header


def test_results_of_several_corpora_tell_theirs(tmp_path):
    make_run(tmp_path / "a", metrics={"protocol": {"corpus": "ptb"}})
    make_run(tmp_path / "b", name="other", model__dropout=0.5, metrics={"protocol": {"corpus": "ptb"}})
    (table,) = result_tables(rows_of(tmp_path))
    assert "corpus" not in table.header
    make_run(tmp_path / "c", name="third", data__name="pydoc", metrics={"protocol": {"corpus": "pydoc"}})
    (table,) = result_tables(rows_of(tmp_path))
    assert table.texts == 2
    assert [row_of(table, name)["corpus"] for name in ("lightrnn-ptb", "other", "third")] == ["ptb", "ptb", "pydoc"]
    csv_rows = csv.DictReader(io.StringIO(csv_text(rows_of(tmp_path))))
    assert [row["corpus"] for row in csv_rows] == [
        "ptb",
        "ptb",
        "pydoc",
    ]


def test_epochs_of_a_part_of_the_text_are_marked(tmp_path):
    make_run(tmp_path / "0", name="a", trainer__limit_train_batches=40)
    make_run(tmp_path / "1", name="b", trainer__limit_train_batches=1.0)
    (table,) = result_tables(rows_of(tmp_path))
    assert sorted(row[table.header.index("epochs")] for row in table.rows) == ["1", "1 †"]
    assert "†: each epoch was limited to a part of the training text (trainer.limit_train_batches=40)." in table.notes
    (table,) = result_tables(
        [*rows_of(tmp_path), Row("Kneser-Ney 5-gram, ptb", {"perplexity": Spread(150.0, None, 1)})]
    )
    assert table.notes[-1] == "Kneser-Ney n-grams are estimated on the whole training text."
    make_run(tmp_path / "2", name="c", trainer__limit_val_batches=3)
    (table,) = result_tables(rows_of(tmp_path))
    assert any("of a part of the validation text (trainer.limit_val_batches=3)" in n for n in table.notes)


def test_hours_to_the_perplexity_of_the_baseline(tmp_path):
    """LightRNN, Table 3."""
    slow = [{"epoch": n, "valid_perplexity": 200.0 - 10 * n, "seconds": 3600.0 * n} for n in (1, 2, 3)]
    fast = [{"epoch": n, "valid_perplexity": 200.0 - 20 * n, "seconds": 1800.0 * n} for n in (1, 2, 3)]
    make_run(tmp_path / "0", name="a", paper=paper("C-HSM ACLW", "lightrnn_table3"), metrics={"history": slow})
    rounds = [{"round": 1, "valid_perplexity": 150.0, "reallocation": {"seconds": 36.0}}]
    make_run(
        tmp_path / "1",
        paper=paper("LightRNN ACLW", "lightrnn_table3"),
        metrics={"history": fast, "rounds": rounds, "seconds": 7200.0},
    )
    (table,) = result_tables(rows_of(tmp_path))
    baseline, light = row_of(table, "C-HSM ACLW (small)"), row_of(table, "LightRNN ACLW (small)")
    assert (baseline["hours"], light["hours"], light["paper: hours"]) == ("3.00", "1.00", "82")
    assert (light["reallocation"], light["paper: reallocation"]) == ("0.50%", "0.19%")


def test_no_hours_without_a_baseline(tmp_path):
    make_run(tmp_path / "1", paper=paper("LightRNN ACLW", "lightrnn_table3"))
    (table,) = result_tables(rows_of(tmp_path))
    assert "hours" not in table.header


def test_failures_have_their_progress_and_error(tmp_path):
    make_run(tmp_path / "a")
    error = "FileNotFoundError: text file /home/someone/ptb/train.txt does not exist"
    make_run(tmp_path / "b", seed=3, metrics={"status": "failed", "error": error})
    table = failure_table([(run.path.name, run) for run in find_runs([tmp_path])])
    ((folder, _, status, message, seed, epochs, perplexity),) = table.rows
    assert (folder, seed, status, epochs, perplexity) == ("b", "3", "failed", "1", "120.00")
    assert message == "FileNotFoundError: text file train.txt does not exist"
    assert failure_table([("a", find_runs([tmp_path / "a"])[0])]) is None


def test_csv_has_all_rows_in_full_precision(tmp_path):
    make_run(tmp_path / "0", 0, 100.123456789, paper=paper("SE 10K"))
    make_run(tmp_path / "1", 1, 100.0, paper=paper("SE 10K"))
    (line,) = csv.DictReader(io.StringIO(csv_text(rows_of(tmp_path))))
    assert float(line["perplexity"]) == (100.123456789 + 100) / 2
    assert (line["paper_row"], line["scale"], line["n"], line["seeds"]) == ("SE 10K", "small", "2", "0 1")
    assert (line["paper_perplexity"], line["paper_input_size"], line["bleu"]) == ("89.06", "10%", "")
    assert float(line["table_bytes"]) == 40_000 and float(line["perplexity_deviation"]) > 0


def test_markdown_escapes_special_characters():
    table = result_tables([Row("a|b\n<unk>", {"perplexity": Spread(1.5, None, 1)})])[0]
    text = markdown(table)
    assert "| a\\|b &lt;unk> | – | 1.50 |" in text
    assert text.splitlines()[2:4] == ["|  | seeds | test perplexity |", "| --- | ---: | ---: |"]


def test_optional_columns_are_omitted_on_a_narrow_terminal(tmp_path):
    make_run(tmp_path / "0", 0, 100.0, paper=paper("SE 10K dropout 0.1"))
    (table,) = result_tables(rows_of(tmp_path))

    def printed(width: int) -> str:
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(for_terminal(table, width))
        return console.export_text()

    wide, narrow = printed(200), printed(80)
    assert "1.61" in wide and "Omitted columns" not in wide
    assert "Omitted columns:" in narrow and "1.61" not in narrow
    assert all(value in text for text in (wide, narrow) for value in ("SE 10K dropout 0.1", "100.00", "88.37"))
    assert max(map(len, narrow.splitlines())) <= 80


@pytest.mark.parametrize("label", ["LightRNN french", "Kneser-Ney 4-gram, ptb-short (small)", "unbreakable" * 4])
@pytest.mark.parametrize("spread", [Spread(766.37, 22.12, 2), Spread(1_234_567.0, 123_456.0, 2)])
@pytest.mark.parametrize("width", [70, 79, 80, 81, 100])
def test_tables_fit_into_the_terminal(label, spread, width):
    paper_row = PaperRow("lightrnn_table5", "HSM french", label, {"perplexity": "202"})
    (table,) = result_tables([Row(label, {"perplexity": spread, "epochs": spread}, seeds=(0, 1), paper=paper_row)])
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(for_terminal(table, width))
    lines = [line.rstrip() for line in console.export_text().splitlines() if line[:1] in "┏┃┡│└"]
    assert len({len(line) for line in lines}) == 1 and lines[0].endswith("┓") and lines[-1].endswith("┘")
    assert "22.12" in "".join(lines) or "123456" in "".join(lines).replace(",", "")


def test_of_a_table_by_language_only_the_languages_of_the_runs_are_shown(tmp_path):
    make_run(tmp_path / "0", 0, 100.0, paper=paper("HSM french", "lightrnn_table5"))
    (table,) = result_tables(rows_of(tmp_path))
    assert {row[0] for row in table.rows} == {"KN french", "HSM french (small)", "C-HSM french", "LightRNN french"}
    assert "The paper's rows of other languages are omitted." in table.notes
    make_run(tmp_path / "1" / "0", 0, 100.0, paper=paper("HSM ptb", "lightrnn_table5"))
    (table,) = result_tables(rows_of(tmp_path / "1"))
    assert [row[0] for row in table.rows] == ["HSM ptb (small)"]
    assert not any("paper" in column for column in table.header)


def test_commands_omit_seeds_and_folders(tmp_path):
    run = make_run(tmp_path / "0")
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text("- seed=0\n- data.train=/home/someone/train.txt\n")
    table = command_table(group_runs(find_runs([tmp_path])))
    assert table.rows == [("lightrnn-ptb", "lightrnn-train data.train=train.txt")]
    make_run(tmp_path / "1" / "a")
    assert command_table(group_runs(find_runs([tmp_path / "1"]))) is None


def test_commands_can_be_pasted_into_a_shell(tmp_path):
    overrides = ["model.row_sizes=[1, 2]", "name=it's"]
    make_run(tmp_path / "0", metrics={"overrides": overrides})
    ((_, command),) = command_table(group_runs(find_runs([tmp_path]))).rows
    assert shlex.split(command) == ["lightrnn-train", *overrides]


def history(*validations) -> dict:
    """Metrics with validations (epoch, round, perplexity)."""
    entries = [{"epoch": epoch, "round": number, "valid_perplexity": value} for epoch, number, value in validations]
    rounds = [{"round": number} for number in sorted({number for _, number, _ in validations})]
    return {"history": entries, "rounds": rounds}


def test_epochs_and_the_round_of_the_best_checkpoint(tmp_path):
    validations = [(1.0, 1, 300.0), (2.0, 1, 200.0), (3.0, 2, 150.0), (4.0, 2, 160.0), (5.5, 3, 155.0), (6.5, 3, None)]
    make_run(tmp_path / "0", name="rounds", metrics={"name": "rounds", **history(*validations)})
    make_run(tmp_path / "1", name="one", metrics={"name": "one", **history((6.5, 1, 90.0))}, model__hidden_dim=9)
    (table,) = result_tables(rows_of(tmp_path))
    rows = {label: row_of(table, label) for label in ("rounds", "one")}
    assert rows["rounds"]["epochs"] == rows["one"]["epochs"] == "6.5"
    assert rows["rounds"]["round of best.ckpt"] == "2" and rows["one"]["round of best.ckpt"] == "–"
    assert not any("fewer epochs" in note for note in table.notes)


def test_corpora_of_one_name_and_different_sizes_are_told_apart(tmp_path):
    for number, tokens in enumerate((1_000, 2_000)):
        metrics = {"protocol": {"corpus": "text"}, "tokens": {"train": tokens}, **history((1.0 + number, 1, 100.0))}
        make_run(tmp_path / str(number), name=f"m{number}", model__dropout=0.1 * number, metrics=metrics)
    (table,) = result_tables(rows_of(tmp_path))
    rows = [row_of(table, f"m{number}") for number in range(2)]
    assert [row["corpus"] for row in rows] == ["text (1,000 tokens)", "text (2,000 tokens)"]
    assert [row["epochs"] for row in rows] == ["1", "2"]


def test_models_that_stopped_earlier_than_others_on_the_same_corpus_are_marked(tmp_path):
    for number, (corpus, epochs) in enumerate((("ptb", 12.0), ("ptb", 8.0), ("ptb", 12.0), ("pydoc", 5.0))):
        metrics = {"name": f"m{number}", "protocol": {"corpus": corpus}, **history((epochs, 1, 100.0))}
        make_run(tmp_path / str(number), name=f"m{number}", metrics=metrics, model__hidden_dim=number + 1)
    (table,) = result_tables(rows_of(tmp_path))
    assert [row_of(table, f"m{number}")["epochs"] for number in range(4)] == ["12", "8 *", "12", "5"]
    (note,) = [note for note in table.notes if "fewer epochs" in note]
    assert note.startswith("*:")  # "* " would begin a list in Markdown


def test_typical_words_of_the_first_group_with_a_table(tmp_path):
    make_run(tmp_path / "0", name="full")
    rows = [{"code": 7, "share": 0.125, "words": ["monday", "tuesday"]}]
    make_run(tmp_path / "1", seed=1, model__hidden_dim=100, metrics={"typical": {"rows": rows}})
    table = typical_table(group_runs(find_runs([tmp_path])))
    assert table.rows == [("7", "12.5%", "monday tuesday")] and "seed 1" in table.title
    assert typical_table(group_runs(find_runs([tmp_path / "0"]))) is None
