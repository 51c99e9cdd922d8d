"""``lightrnn-export`` as people type it: what it writes, what it says, and what it refuses."""

import json
import subprocess
import sys

import pytest

from lightrnn_pl import load
from lightrnn_pl.cli.commands import export as main
from lightrnn_pl.export.checks import Difference
from lightrnn_pl.training.experiment import train
from tests.scripts import heavy_imports
from tests.training.runs import compose_run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("safetensors")


TOLERANCE = {"safetensors": 0, "int8": 1e-2, "onnx": 1e-5, "onnx_int8": 1e-2}


@pytest.fixture
def export(trained, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; what it wrote to report.json and what it told."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, checkpoint=trained):
        given = [f"checkpoint={checkpoint}", "output=out", "json=report.json", *arguments]
        monkeypatch.setattr(sys, "argv", ["lightrnn-export", *given])
        main()
        return json.loads((tmp_path / "report.json").read_text()), " ".join(capsys.readouterr().out.split())

    return run


@pytest.mark.parametrize("format", ["safetensors", "int8", "onnx", "onnx_int8"])
def test_says_sizes_agreement_and_perplexity(trained, export, tmp_path, format):
    report, told = export(f"format={format}")
    metrics = json.loads((trained / "metrics.json").read_text())
    found = report["perplexity"]
    assert found["before"] == pytest.approx(metrics["validation"]["perplexity"])
    assert found["after"] == pytest.approx(found["before"], rel=TOLERANCE[format])
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert report["bytes"] == sizes and report["total_bytes"] == sum(sizes.values())
    assert (
        f"{report['total_bytes']:,}" in told and report["agreement"] in told and f"{found['after']:.2f} after" in told
    )
    assert {"README.md", "vocabulary.txt"} <= sizes.keys()
    # Whoever may read one of the files may read all of them.
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"{load(trained).model.num_parameters:,}" in card and f"{found['after']:.2f}" in card
    if not format.startswith("onnx"):
        again = load(tmp_path / "out")
        assert again.score(["w01 w02"])[0] == pytest.approx(load(trained).score(["w01 w02"])[0], abs=1e-1)


def test_any_text_and_an_export_of_an_export(export, tmp_path, tiny_text):
    export("valid=null")
    report, _ = export(f"valid={tiny_text['test']}", "output=small", "format=int8", "words=100", checkpoint="out")
    assert "test.txt" in report["perplexity"]["text"] and report["checkpoint_bytes"] > 0
    # Whole windows until there are as many words.
    assert 100 <= int(report["perplexity"]["text"].split(", ")[1].split()[0]) < 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "report.json", "small"]


def test_where_no_text_is_at_hand_graphs_are_checked_on_drawn_words(tmp_path, tiny_text, export):
    moved = {}
    for split, path in tiny_text.items():
        moved[split] = tmp_path / path.name
        moved[split].write_text(path.read_text())
    train(compose_run(tmp_path / "run", moved, "trainer.max_steps=1"))
    for path in moved.values():
        path.unlink()
    report, told = export("format=onnx", checkpoint="run")
    assert "drawn by frequency" in report["agreement"] and "not at hand" in told and "perplexity" not in report


def test_only_an_older_export_is_replaced(export, tmp_path, capsys):
    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            export("valid=null", *arguments)
        told = capsys.readouterr().err
        assert end.value.code == 2 and "Traceback" not in told
        return told

    export("valid=null")
    assert "output=out is there already; give another folder, or overwrite=true" in refused()
    (tmp_path / "out" / "left.txt").write_text("of before")
    export("valid=null", "format=onnx", "overwrite=true")
    assert not (tmp_path / "out" / "left.txt").exists() and (tmp_path / "out" / "row.onnx").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "is no export of lightrnn_pl, and is not overwritten" in refused("output=mine", "overwrite=true")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_what_is_not_the_same_is_not_exported(export, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lightrnn_pl.export.formats.largest_difference", lambda *_: Difference(0.0, float("nan")))
    with pytest.raises(SystemExit):
        export("format=onnx", "valid=null")
    assert "nothing was exported" in capsys.readouterr().err
    monkeypatch.setattr(
        "lightrnn_pl.export.bundle_writer.pack_state",
        lambda state, eight_bits: ({n: t + 1 for n, t in state.items()}, {}),
    )
    with pytest.raises(SystemExit):
        export("valid=null")
    assert "error: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("format=pickle", "format=pickle is none of safetensors, int8, onnx, onnx_int8"),
        ("valid=nowhere.txt", "valid=nowhere.txt is no file"),
        ("checkpoint=nowhere", "no checkpoint at nowhere"),
        ("words=0", "words must be a whole number of at least 1"),
        ("check_words=no", "check_words must be a whole number"),
        ("output=null", "output=None is not a folder"),
        ("overwrite=perhaps", "overwrite must be true or false, got perhaps"),
    ],
)
def test_what_cannot_be_done_is_one_line(export, tmp_path, capsys, argument, message):
    with pytest.raises(SystemExit) as end:
        export(argument)
    told = capsys.readouterr().err
    assert end.value.code == 2 and f"{message}" in told and "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_torch(tmp_path):
    script = heavy_imports("export", "--help", packages=("torch", "onnx", "onnxruntime"))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "usage: lightrnn-export" in done.stdout and "HEAVY []" in done.stdout, done.stderr


def test_an_exported_folder_is_evaluated_and_its_table_shown(trained, export, tmp_path, monkeypatch, capsys):
    from lightrnn_pl.cli.commands import evaluate, table

    export("format=safetensors")
    told = {}
    for checkpoint in (trained, tmp_path / "out"):
        monkeypatch.setattr(sys, "argv", ["lightrnn-evaluate", f"checkpoint={checkpoint}", "json=evaluated.json"])
        evaluate()
        told[checkpoint] = json.loads((tmp_path / "evaluated.json").read_text())
    assert told[trained]["splits"] == told[tmp_path / "out"]["splits"]
    assert told[tmp_path / "out"]["checkpoint"].endswith("model.safetensors")
    monkeypatch.setattr(sys, "argv", ["lightrnn-table", f"checkpoint={tmp_path / 'out'}", "rows=1"])
    table()
    assert told[trained]["table"][:16] in capsys.readouterr().out.replace("\n", "")
