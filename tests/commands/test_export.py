"""``lightrnn-export``: its files, its report, and its errors."""

import json
import subprocess
import sys

import pytest

from lightrnn_pl import load
from lightrnn_pl.cli.entry_points import export as main
from lightrnn_pl.export.checks import Difference
from lightrnn_pl.export.sherpa_onnx_writer import SentenceDifference
from lightrnn_pl.training.experiment import train
from tests.scripts import heavy_imports
from tests.training.runs import compose_run

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


TOLERANCE = {"safetensors": 0, "int8": 1e-2, "onnx": 1e-5, "onnx_int8": 1e-2}


@pytest.fixture
def export(trained, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; returns report.json and standard output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, checkpoint=trained):
        argv = [f"checkpoint={checkpoint}", "output=out", "json=report.json", *arguments]
        monkeypatch.setattr(sys, "argv", ["lightrnn-export", *argv])
        main()
        return json.loads((tmp_path / "report.json").read_text()), " ".join(capsys.readouterr().out.split())

    return run


@pytest.mark.parametrize("format", ["safetensors", "int8", "onnx", "onnx_int8"])
def test_reports_sizes_agreement_and_perplexity(trained, export, tmp_path, format):
    report, output = export(f"format={format}")
    metrics = json.loads((trained / "metrics.json").read_text())
    perplexity = report["perplexity"]
    assert perplexity["before"] == pytest.approx(metrics["validation"]["perplexity"])
    assert perplexity["after"] == pytest.approx(perplexity["before"], rel=TOLERANCE[format])
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert report["bytes"] == sizes and report["total_bytes"] == sum(sizes.values())
    assert f"{report['total_bytes']:,}" in output and report["agreement"] in output
    needed = sum(sizes.values()) - sizes["README.md"] - sizes.get("client.mjs", 0)
    assert (f"on a device, with client.py: {needed:,} bytes" in output) == format.startswith("onnx")
    assert f"{perplexity['after']:.2f} after" in output
    assert {"README.md", "vocabulary.txt.gz"} <= sizes.keys()
    # All files have the same permissions.
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"{load(trained).model.num_parameters:,}" in card and f"{perplexity['after']:.2f}" in card
    if not format.startswith("onnx"):
        again = load(tmp_path / "out")
        assert again.score(["w01 w02"])[0] == pytest.approx(load(trained).score(["w01 w02"])[0], abs=1e-1)


def test_evaluates_on_any_text_and_exports_an_export(export, tmp_path, tiny_text):
    export("valid=null")
    report, _ = export(f"valid={tiny_text['test']}", "output=small", "format=int8", "words=100", checkpoint="out")
    assert "test.txt" in report["perplexity"]["text"] and report["checkpoint_bytes"] > 0
    # Whole windows are read until there are at least that many words.
    assert 100 <= int(report["perplexity"]["text"].split(", ")[1].split()[0]) < 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "report.json", "small"]


def test_the_validation_text_is_called_valid(export, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(SystemExit):
        export("valid=empty.txt")
    error = capsys.readouterr().err
    assert "reading valid" in error and "data.valid contains no words" in error and "test" not in error


def test_verifies_onnx_graphs_on_random_words_if_no_text_is_available(tmp_path, tiny_text, export):
    copies = {}
    for split, path in tiny_text.items():
        copies[split] = tmp_path / path.name
        copies[split].write_text(path.read_text())
    train(compose_run(tmp_path / "run", copies, "trainer.max_steps=1"))
    for path in copies.values():
        path.unlink()
    report, output = export("format=onnx", checkpoint="run")
    assert "drawn by frequency" in report["agreement"] and "is not available" in output
    assert "perplexity" not in report


def test_sherpa_onnx_is_verified_on_sentences_and_overwritten(export, tmp_path, monkeypatch, capsys):
    (tmp_path / "symbols.txt").write_text("<blk> 0\n\u2581w01 1\nw02 2\nHE 3\n", encoding="utf-8")
    report, output = export("format=sherpa_onnx", "tokens=symbols.txt", "check_words=60")
    assert report["tokens"] == {"number": 4, "in_vocabulary": 2} and "2 of 4 tokens are in the vocabulary" in output
    assert report["words_checked"] == 60 and max(report["largest_difference"].values()) < 1e-4
    assert "its validation text" in report["agreement"] and "compared sentence by sentence" in output
    assert set(report["bytes"]) == {"README.md", "metadata.json", "offline.onnx", "online.onnx", "tokens.txt"}
    export("format=sherpa_onnx", "valid=null", "overwrite=true")
    assert (tmp_path / "out" / "tokens.txt").read_text(encoding="utf-8").startswith("<blk> 0\n<eos> 1\n\u2581w01 2\n")
    difference = SentenceDifference(0.0, float("nan"), 1)
    monkeypatch.setattr("lightrnn_pl.export.formats.compare_sentences", lambda *_: difference)
    with pytest.raises(SystemExit):
        export("format=sherpa_onnx", "valid=null", "output=other")
    assert "nothing was exported" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_overwrites_only_an_earlier_export(export, tmp_path, capsys):
    def error(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            export("valid=null", *arguments)
        message = capsys.readouterr().err
        assert end.value.code == 2 and "Traceback" not in message
        return message

    export("valid=null")
    assert "output=out already exists; pass another folder, or overwrite=true" in error()
    (tmp_path / "out" / "old.txt").write_text("from the earlier export")
    export("valid=null", "format=onnx", "overwrite=true")
    assert not (tmp_path / "out" / "old.txt").exists() and (tmp_path / "out" / "row.onnx").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "is not a lightrnn_pl export, so it is not overwritten" in error("output=mine", "overwrite=true")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_an_export_that_differs_from_the_model_is_discarded(export, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lightrnn_pl.export.formats.compare_steps", lambda *_: Difference(0.0, 0.0, float("nan")))
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


def test_eight_bits_are_refused_if_perplexity_increases_by_more_than_the_tolerance(
    export, tmp_path, monkeypatch, capsys
):
    # A large difference of one code does not matter.
    monkeypatch.setattr("lightrnn_pl.export.formats.compare_steps", lambda *_: Difference(0.06, 4.0, 9.0))
    with pytest.raises(SystemExit):
        export("format=onnx_int8", "valid=null")
    message = capsys.readouterr().err
    assert "perplexity of random text (words drawn by frequency) by 6.0%, more than tolerance=0.05" in message
    assert list(tmp_path.iterdir()) == []
    report, _ = export("format=onnx_int8", "valid=null", "tolerance=0.07")
    assert report["largest_difference"] == {"of_text": 4.0, "of_any": 9.0}
    # A code that is possible in only one of the two does.
    monkeypatch.setattr("lightrnn_pl.export.formats.compare_steps", lambda *_: Difference(0.0, 0.0, float("inf")))
    with pytest.raises(SystemExit):
        export("format=onnx_int8", "valid=null", "overwrite=true")
    assert "differ from PyTorch's by up to inf" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("tolerance=-1", "tolerance must be a number greater than or equal to 0, got -1"),
        ("tolerance=0.1", "tolerance=0.1 applies to format=onnx_int8 only; omit it"),
        ("format=pickle", "format must be safetensors, int8, onnx, onnx_int8, executorch or sherpa_onnx, got 'pickle'"),
        ("tokens=tokens.txt", "tokens=tokens.txt applies to format=sherpa_onnx only; omit it"),
        ("valid=nowhere.txt", "valid=nowhere.txt is not a file"),
        ("checkpoint=nowhere", "no checkpoint at nowhere"),
        ("words=0", "words must be an integer greater than or equal to 1"),
        ("check_words=no", "check_words must be an integer"),
        ("output=null", "output=None is not a folder"),
        ("overwrite=perhaps", "overwrite must be true or false, got perhaps"),
    ],
)
def test_errors_are_one_line(export, tmp_path, capsys, argument, message):
    with pytest.raises(SystemExit) as end:
        export(argument)
    error = capsys.readouterr().err
    assert end.value.code == 2 and message in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_help_does_not_import_torch(tmp_path):
    script = heavy_imports("export", "--help", packages=("torch", "onnx", "onnxruntime"))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "usage: lightrnn-export" in done.stdout and "HEAVY []" in done.stdout, done.stderr


def test_other_commands_accept_an_exported_folder(trained, export, tmp_path, monkeypatch, capsys):
    from lightrnn_pl.cli.entry_points import evaluate, table

    export("format=safetensors")
    reports = {}
    for checkpoint in (trained, tmp_path / "out"):
        monkeypatch.setattr(sys, "argv", ["lightrnn-evaluate", f"checkpoint={checkpoint}", "json=evaluated.json"])
        evaluate()
        reports[checkpoint] = json.loads((tmp_path / "evaluated.json").read_text())
    assert reports[trained]["splits"] == reports[tmp_path / "out"]["splits"]
    assert reports[tmp_path / "out"]["checkpoint"].endswith("model.safetensors")
    monkeypatch.setattr(sys, "argv", ["lightrnn-table", f"checkpoint={tmp_path / 'out'}", "rows=1"])
    table()
    assert reports[trained]["table"][:16] in capsys.readouterr().out.replace("\n", "")
