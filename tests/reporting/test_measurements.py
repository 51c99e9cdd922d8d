import json

import pytest

from lightrnn_pl.reporting.measurements import find_measurements, measurement_rows
from lightrnn_pl.reporting.run_groups import group_runs
from lightrnn_pl.reporting.runs import find_runs
from lightrnn_pl.reporting.tables import result_tables
from tests.reporting.folders import TOKENS, make_run, mixture


def write(path, content) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def rows_of(folder) -> dict:
    groups = group_runs(find_runs([folder]))
    return {row.label: row for row in measurement_rows(find_measurements([folder]), groups)}


def test_mixtures_of_several_seeds_form_a_row(tmp_path):
    for seed, combined in ((0, 90.0), (1, 94.0)):
        run = make_run(tmp_path / str(seed), seed, paper={"table": "lightrnn_table4", "row": "LightRNN"})
        write(run / "kn.json", mixture(f"{seed}-{seed}", combined))
    rows = rows_of(tmp_path)
    alone, both = rows["Kneser-Ney 5-gram, ptb"], rows["LightRNN + Kneser-Ney 5-gram"]
    assert (alone.paper.row, alone.paper.perplexity) == ("KN", 68) and alone.metrics["perplexity"].mean == 141.5
    # Kneser-Ney has no seed, so equal values count once.
    assert alone.metrics["perplexity"].n == 1 and alone.seeds == ()
    assert (both.paper.row, both.paper.perplexity) == ("KN + LightRNN", 43)
    assert both.metrics["perplexity"].mean == 92 and both.seeds == (0, 1) and both.small


def test_kneser_ney_is_reported_in_the_row_of_its_language(tmp_path):
    """LightRNN, Table 5."""
    run = make_run(tmp_path / "0", paper={"table": "lightrnn_table5", "row": "LightRNN french"})
    write(run / "kn.json", mixture("0-0", 90.0))
    rows = rows_of(tmp_path)
    assert (rows["Kneser-Ney 5-gram, ptb"].paper.row, rows["Kneser-Ney 5-gram, ptb"].paper.perplexity) == (
        "KN french",
        243,
    )
    assert rows["LightRNN french + Kneser-Ney 5-gram"].paper is None


def test_other_mixtures_and_other_texts_have_no_row_in_the_papers(tmp_path):
    paper = {"table": "lightrnn_table4", "row": "LightRNN", "scale": "paper"}
    run = make_run(tmp_path / "0", paper=paper)
    cache = {"name": "unigram cache, 500 words", "weight": 0.1, "splits": {"test": {"perplexity": None}}}
    write(run / "cache.json", mixture("0-0", 88.0, members=[cache]))
    write(run / "other.json", mixture("0-0", 200.0, tokens={**TOKENS, "test": 5}))
    rows = rows_of(tmp_path)
    assert rows["LightRNN + Kneser-Ney 5-gram + unigram cache, 500 words"].paper is None
    assert rows["LightRNN on ptb + Kneser-Ney 5-gram"].paper is None
    assert "perplexity" not in rows["unigram cache, 500 words, ptb"].metrics


def test_a_model_without_a_run_is_labeled_by_its_hash(tmp_path):
    write(tmp_path / "kn.json", mixture("deadbeefcafe", 90.0))
    assert set(rows_of(tmp_path)) == {"Kneser-Ney 5-gram, ptb", "model deadbeef + Kneser-Ney 5-gram"}


def test_reranked_translations(tmp_path):
    """Slim Embedding, Table 6."""
    for name, test in (("ne", 100.0), ("se", 104.0)):
        make_run(tmp_path / name, 0, test, name=name, paper={"table": "slim_table6", "row": name.upper()})
    systems = [("as listed", None, 24.0), ("features of the list", None, 25.0)]
    systems += [("+ LanguageModel0", 120.0, 26.0), ("+ LanguageModel1", 130.0, 26.5), ("+ all of them", None, 27.0)]
    content = {
        "settings": {"test": "eval.nbest"},
        "models": {
            f"LanguageModel{n}": {"checkpoint": "x", "sha256": f"{name}-0"} for n, name in enumerate(("ne", "se"))
        },
        "systems": [{"name": name, "perplexity": ppl, "test_bleu": bleu} for name, ppl, bleu in systems],
        "test": {"hypotheses": 6000},
    }
    write(tmp_path / "rescored.json", content)
    rows = rows_of(tmp_path)
    assert list(rows) == ["as listed", "features of the list", "+ NE", "+ SE", "+ all of them"]
    assert [row.paper.row if row.paper else None for row in rows.values()] == [None, "Moses", "NE", "SE", None]
    assert rows["+ SE"].metrics["bleu"].mean == 26.5 and rows["+ SE"].metrics["perplexity"].mean == 130
    assert rows["+ SE"].paper.number("bleu") == 26.25 and rows["+ SE"].small and rows["+ SE"].seeds == (0,)


def test_output_layers(tmp_path):
    """Slim Embedding, Table 7."""

    def layer(output: str, seconds: float, vocabulary: int = 793_471, threads: int = 1, phase: str = "inference"):
        sizes = {"vocabulary": vocabulary, "hidden": 2048, "batch": 20, "threads": threads}
        return {"output": output, "phase": phase, "seconds": seconds, **sizes}

    layers = [layer("full", 1.5), layer("slim", 0.3), layer("projected", 0.5), layer("full", 9.0, phase="training")]
    write(tmp_path / "layers.json", [*layers, layer("slim", 0.1, vocabulary=100_000), layer("slim", 0.2, threads=2)])
    rows = rows_of(tmp_path)
    assert list(rows) == [
        *("Uncompressed", "SE", "projected", "SE, 100,000 words, 2,048 hidden, batch 20", "SE, 2 threads")
    ]
    assert rows["SE"].paper.number("cpu_seconds") == 0.7 and not rows["SE"].small
    assert rows["SE, 100,000 words, 2,048 hidden, batch 20"].small
    assert rows["projected"].paper.printed == {} and rows["Uncompressed"].metrics["cpu_seconds"].mean == 1.5


def test_output_layers_on_a_gpu_have_their_own_column(tmp_path):
    sizes = {"vocabulary": 793_471, "hidden": 2048, "batch": 20, "threads": 2, "phase": "inference"}
    write(tmp_path / "cpu.json", [{"output": "slim", "seconds": 0.4, "device": "cpu", **sizes, "threads": 1}])
    write(tmp_path / "gpu.json", [{"output": "slim", "seconds": 0.002, "device": "cuda", **sizes}])
    (table,) = result_tables(list(rows_of(tmp_path).values()))
    row = dict(zip(table.header, next(row for row in table.rows if row[0] == "SE"), strict=True))
    assert (row["CPU seconds"], row["paper: CPU seconds"]) == ("0.4", "0.7")
    assert (row["GPU ms"], row["paper: GPU ms"]) == ("2", "25")


def test_other_json_files_are_skipped_unless_named(tmp_path):
    make_run(tmp_path / "0")
    write(tmp_path / "notes.json", {"a": 1})
    (tmp_path / "broken.json").write_text("{")
    assert find_measurements([tmp_path]) == []
    with pytest.raises(ValueError, match=r"notes\.json is not JSON output of"):
        find_measurements([tmp_path / "notes.json"])


def test_a_repeated_file_counts_once(tmp_path):
    write(tmp_path / "kn.json", mixture("x", 90.0))
    assert len(find_measurements([tmp_path, tmp_path / "kn.json"])) == 1
