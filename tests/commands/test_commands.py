"""The commands, most of them in this process: another one takes seconds to start."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightrnn_pl import load
from lightrnn_pl.cli.entry_points import evaluate as evaluate_main
from lightrnn_pl.cli.entry_points import train as train_main
from lightrnn_pl.training.experiment import train
from tests.scripts import imports_of
from tests.training.runs import SMALL, compose_run


@pytest.fixture(scope="module")
def corpus(tiny_text) -> list[str]:
    return ["data=text", *(f"data.{split}={path}" for split, path in tiny_text.items())]


@pytest.fixture(scope="module")
def small(tmp_path_factory, corpus) -> list[str]:
    """The overrides of a run of one epoch."""
    small = [override for override in SMALL if not override.startswith(("name=", "logger="))]
    return [
        *small,
        *corpus,
        *("logger=csv", "trainer.max_epochs=1", f"paths.cache_dir={tmp_path_factory.mktemp('cache')}"),
    ]


@pytest.fixture(scope="module")
def trained(commands, tmp_path_factory, small) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run in a process of its own, outside the checkout."""
    folder = tmp_path_factory.mktemp("trained")
    done = subprocess.run(
        [commands / "lightrnn-train", "hydra.run.dir=run", *small],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return folder / "run", done


def test_help_and_configuration_do_not_import_torch(tmp_path):
    own = tmp_path / "my_conf" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nmodel:\n  hidden_dim: 77\n")
    done = imports_of("train", ["--help"], tmp_path)
    assert "usage: lightrnn-train" in done.stdout and "HEAVY []" in done.stdout, done.stderr
    arguments = ["--cfg", "job", "--config-dir", "my_conf", "experiment=mine"]
    done = imports_of("train", arguments, tmp_path)
    assert "hidden_dim: 77" in done.stdout and "HEAVY []" in done.stdout, done.stderr
    done = imports_of("evaluate", ["--help"], tmp_path)
    assert "lightrnn-evaluate" in done.stdout and "HEAVY []" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["my_conf"]


def test_trains_and_prints_the_run_folder(trained):
    run_dir, done = trained
    assert done.returncode == 0, done.stderr
    assert "run folder: run" in done.stdout.replace(str(run_dir.parent) + "/", "")
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["status"] == "completed" and metrics["name"] == "lightrnn-text"
    assert [path.name for path in run_dir.parent.iterdir()] == ["run"]


def test_evaluates_a_run_folder_to_the_same_number(trained, tmp_path, monkeypatch, capsys):
    run_dir, _ = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "argv", ["lightrnn-evaluate", f"checkpoint={run_dir}", "json=report.json"])
    evaluate_main()
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert report["splits"]["test"] == metrics["test"] and report["splits"]["valid"] == metrics["validation"]
    assert report["sha256"] == metrics["checkpoint"]["sha256"] and report["table"] == metrics["table"]
    for text in (f"{metrics['test']['perplexity']:.2f}", "without end markers", report["sha256"][:16]):
        assert text in printed
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_evaluates_any_text(trained, tmp_path, monkeypatch, capsys):
    run_dir, _ = trained
    (tmp_path / "any.txt").write_text("w01 w02 never-seen\nw03\n")
    monkeypatch.chdir(tmp_path)
    arguments = [f"checkpoint={run_dir}", "text=any.txt", "json=report.json"]
    monkeypatch.setattr(sys, "argv", ["lightrnn-evaluate", *arguments])
    monkeypatch.setenv("COLUMNS", "80")
    evaluate_main()
    table = capsys.readouterr().out.partition("perplexity by word count")[0]
    assert "perplexity┃" in table and "…" not in table and max(map(len, table.splitlines())) <= 80
    (split,) = json.loads((tmp_path / "report.json").read_text())["splits"].values()
    assert (split["tokens"], split["end_tokens"], split["unknown_tokens"]) == (6, 2, 1)


def error_of(main, arguments: list[str], monkeypatch, capsys) -> str:
    """The error line of a command that must fail, run in this process to save time."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    output = capsys.readouterr().err
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert end.value.code == 2 and len(errors) == 1 and "Traceback" not in output, (arguments, output)
    return errors[0]


def test_training_errors_are_one_line(small, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.txt").write_bytes(b"fine words\nbroken \xff\xfe words\n")
    (tmp_path / "empty.txt").write_bytes(b"\n")
    monkeypatch.chdir(tmp_path)
    for number, (override, message) in enumerate(
        (
            ("data.train=nowhere.txt", "nowhere.txt"),
            ("data.train=bad.txt", "bad.txt, line 2"),
            ("data.train=empty.txt", "data.train"),
            ("data.train=???", "data.train is required; pass data.train=..."),
            ("model.sides=[3,3]", "49 words do not fit into a table with sides [3, 3]"),
            ("model.sides=[0,49]", "every side of the table must be at least 1"),
            ("data.sequence_length=5000", "less than one window (data.sequence_length=5000)"),
        )
    ):
        error = error_of(train_main, [f"hydra.run.dir=run{number}", *small, override], monkeypatch, capsys)
        assert message in error
        if "???" not in override:
            metrics = json.loads((tmp_path / f"run{number}" / "metrics.json").read_text())
            assert metrics["status"] == "failed" and metrics["error"].partition(": ")[2] in error


def test_the_error_names_an_unknown_key(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lightrnn-train", "model.hidden_dims=3"])
    with pytest.raises(SystemExit) as end:
        train_main()
    error = capsys.readouterr().err
    assert end.value.code == 2 and "model.hidden_dims" in error and "Traceback" not in error


def test_the_reported_protocol_is_the_one_used(tiny_text, tmp_path, monkeypatch, capsys):
    run_dir = tmp_path / "run"
    sentences = ["data.batching=sentence", "trainer.max_steps=2"]
    train(compose_run(run_dir, tiny_text, *sentences))
    report = tmp_path / "report.json"
    streams = [f"data.{split}={path}" for split, path in tiny_text.items()]
    for arguments, batching, parallel in (
        ([f"text={tiny_text['test']}"], "sentence", 3),
        (["data=text", *streams, "data.batching=stream", "eval_batch_size=1"], "stream", 1),
    ):
        monkeypatch.setattr(sys, "argv", ["lightrnn-evaluate", f"checkpoint={run_dir}", f"json={report}", *arguments])
        evaluate_main()
        protocol = json.loads(report.read_text())["protocol"]
        assert (protocol["batching"], protocol["eval_streams"]) == (batching, parallel)
        assert ("every line" in protocol["state"]) == (batching == "sentence")
        assert "train" not in protocol["tokens"]


def test_evaluation_errors_are_one_line(trained, tmp_path, monkeypatch, capsys):
    run_dir, _ = trained
    content = bytearray((run_dir / "best.ckpt").read_bytes())
    (tmp_path / "cut.ckpt").write_bytes(content[: len(content) // 2])
    weights = load(run_dir).model.embedding.vectors.weight.detach().numpy().tobytes()
    content[content.find(weights[:16])] ^= 0xFF
    (tmp_path / "flipped.ckpt").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for argument, message in (
        ("checkpoint=nowhere", "no checkpoint at nowhere"),
        ("checkpoint=cut.ckpt", "cut.ckpt is damaged"),
        ("checkpoint=flipped.ckpt", "flipped.ckpt is damaged"),
        ("checkpoint=null", "checkpoint=None does not name a model"),
        ("splits=[valid]", "checkpoint is required; pass checkpoint=..."),
    ):
        assert message in error_of(evaluate_main, [argument], monkeypatch, capsys)
