"""Sweeps: killed and resumed, with failing jobs, and with fail_fast."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from lightrnn_pl.cli import sweep as sweep_module
from lightrnn_pl.cli.entry_points import train as main
from lightrnn_pl.training.folder_lock import exclusive_lock
from lightrnn_pl.training.module import LanguageModelingModule
from tests.robustness.forked_process import ForkedProcess

TINY = (
    *("logger=none", "callbacks=quiet", "trainer=cpu", "debug=limit"),
    *("model.hidden_dim=8", "model.num_layers=1"),
)


@pytest.fixture
def cache(tmp_path_factory) -> str:
    return f"paths.cache_dir={tmp_path_factory.getbasetemp() / 'sweep-cache'}"


@pytest.fixture
def corpus(tiny_text) -> list[str]:
    files = (f"data.{split}={path}" for split, path in tiny_text.items())
    return ["data=text", *files, "data.batch_size=4", "data.sequence_length=7"]


def sweep(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    """Exit status and output of ``lightrnn-train -m``, run in this process to save time."""
    monkeypatch.setattr(sys, "argv", ["lightrnn-train", "-m", *arguments])
    monkeypatch.setenv("COLUMNS", "140")
    capsys.readouterr()
    status = 0
    try:
        main()
    except SystemExit as end:
        assert isinstance(end.code, int)
        status = end.code
    return status, capsys.readouterr().out


def statuses(folder: Path) -> dict[int, str]:
    jobs = [json.loads(path.read_text()) for path in (folder / ".jobs").glob("*.json")]
    return {job["job"]: job["status"] for job in jobs}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".ckpt", ".json", ".yaml")}


def test_a_killed_sweep_resumes_without_repeating_jobs(corpus, cache, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "sweep"
    arguments = [
        *("seed=0,1", "model.dropout=0.1,0.3", f"hydra.sweep.dir={folder}", cache, *TINY),
        *corpus,
        *("trainer.limit_train_batches=20", "resume_point.every_steps=5", "reallocation.max_rounds=1"),
    ]
    monkeypatch.setattr(sys, "argv", ["lightrnn-train", "-m", *arguments])
    running = ForkedProcess(main)
    while not (folder / "1" / "last.ckpt").is_file() and not running.ends_within(0.05):
        pass
    os.kill(running.process_id, signal.SIGKILL)
    running.wait()
    assert statuses(folder) == {0: "completed", 1: "running"}
    first = content(folder / "0")

    status, output = sweep(monkeypatch, capsys, *arguments)
    assert status == 0
    assert statuses(folder) == {0: "kept", 1: "resumed, completed", 2: "completed", 3: "completed"}
    assert content(folder / "0") == first
    log = (folder / "1" / "train.log").read_text()
    assert log.count("resuming from") == 1
    for number in range(4):
        metrics = json.loads((folder / str(number) / "metrics.json").read_text())
        assert metrics["status"] == "completed" and [line["epoch"] for line in metrics["history"]] == [1, 2]
        assert all(f" {metrics[split]['perplexity']:.2f} │" in output for split in ("validation", "test"))

    everything = [content(folder / str(number)) for number in range(4)]
    status, output = sweep(monkeypatch, capsys, *arguments)
    assert status == 0 and set(statuses(folder).values()) == {"kept"}
    assert "kept" in output and "error" not in output
    assert [content(folder / str(number)) for number in range(4)] == everything


def test_an_interrupted_sweep_reports_the_jobs_that_were_not_started(corpus, cache, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "sweep"
    arguments = ["model.dropout=0.1,0.2", "seed=range(0,3)", *corpus, cache, *TINY, f"hydra.sweep.dir={folder}"]
    step = LanguageModelingModule.training_step

    def interrupt(module, *batch):
        if (folder / ".jobs" / "1.json").is_file():
            signal.raise_signal(signal.SIGINT)
        return step(module, *batch)

    monkeypatch.setattr(LanguageModelingModule, "training_step", interrupt)
    monkeypatch.setattr(sys, "argv", ["lightrnn-train", "-m", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    assert end.value.code == 130 and statuses(folder) == {0: "completed", 1: "interrupted"}
    assert printed.out.endswith(
        "\n4 more jobs were not started\ninterrupted; to resume, run the same command again; completed jobs are kept\n"
    )
    assert (folder / "1" / "last.ckpt").is_file()
    assert "will start over" not in printed.err and "hydra.run.dir" not in printed.out + printed.err


def test_the_folder_to_resume_is_named_if_the_command_did_not_name_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lightrnn-train", "-m", "seed=0,1"])
    sweep_module._print_remaining(sweep_module._Sweep(tmp_path, 2), [])
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"interrupted; to resume, run the same command with hydra.sweep.dir={tmp_path} again; completed jobs are kept"
    )


def test_a_job_that_is_refused_at_once_is_still_failed_after_the_next_sweep(cache, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "sweep"
    common = ("experiment=slim/table3", f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${paper.model}", cache)
    assert sweep(monkeypatch, capsys, *common, "paper.model=x")[0] == 1
    assert sweep(monkeypatch, capsys, *common, "paper.model=y")[0] == 1
    metrics = json.loads((folder / "x" / "metrics.json").read_text())
    assert metrics["status"] == "failed" and "paper.model=x is not a row of slim_table3" in metrics["error"]


def test_a_failed_job_is_reported_and_does_not_stop_the_others(corpus, cache, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "sweep"
    arguments = [*corpus, cache, *TINY, f"hydra.sweep.dir={folder}", "hydra.sweeper.max_batch_size=1", "logger=wandb"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    status, output = sweep(monkeypatch, capsys, "model.sides=[3,3],[7,7]", *arguments)
    assert status == 1
    assert statuses(folder) == {0: "failed", 1: "completed"}
    for line in ("model.sides=[3,3]", "failed", "error", "49 words do not fit into a table with sides [3, 3]"):
        assert line in " ".join(output.replace("│", " ").split()), output
    assert "Traceback" not in output
    failed = json.loads((folder / "0" / "metrics.json").read_text())
    assert failed["status"] == "failed" and "do not fit" in failed["error"]

    # After the setting is fixed, only the failed job is trained.
    good = content(folder / "1")
    status, _ = sweep(monkeypatch, capsys, "model.sides=[9,9],[7,7]", *arguments)
    assert status == 0
    assert statuses(folder) == {0: "completed", 1: "kept"}
    assert content(folder / "1") == good
    for number in (0, 1):
        assert len(list((folder / str(number) / "wandb").glob("offline-run-*"))) == 1


def test_fail_fast_starts_no_further_job(corpus, cache, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "sweep"
    arguments = [*corpus, cache, *TINY, f"hydra.sweep.dir={folder}", "sweep.fail_fast=true"]
    status, output = sweep(monkeypatch, capsys, "model.sides=[3,3],[7,7]", *arguments)
    assert status == 1 and statuses(folder) == {0: "failed", 1: "not started"}
    assert "job 0 failed" in output and not (folder / "1" / "metrics.json").exists()


def test_a_sweep_over_experiments_accepts_keys_of_their_corpora(tmp_path, monkeypatch, capsys):
    """The experiment passed first is the one that Hydra checks overrides against; jobs get the last one only."""
    folder = tmp_path / "sweep"
    swept = "experiment=lightrnn/figure4,lightrnn/figure5"
    overrides = ["data.root=missing", "paper.table=mine", *TINY, f"hydra.sweep.dir={folder}"]
    status, output = sweep(monkeypatch, capsys, "experiment=lightrnn/figure4", swept, *overrides)
    assert status == 1 and statuses(folder) == {0: "failed", 1: "failed"}, output
    for number, name in enumerate(("figure4", "figure5")):
        job = json.loads((folder / ".jobs" / f"{number}.json").read_text())
        assert job["overrides"][:3] == [f"experiment=lightrnn/{name}", "data.root=missing", "paper.table=mine"]
        assert "set data.root to the folder of the unpacked archive" in job["error"]


def test_an_unexpected_error_is_logged_with_its_traceback(corpus, cache, tmp_path, monkeypatch, capsys):
    def broken(*arguments, **named):
        raise RuntimeError("unexpected error")

    monkeypatch.setattr("lightrnn_pl.training.experiment.build_model", broken)
    folder = tmp_path / "sweep"
    status, output = sweep(monkeypatch, capsys, "seed=0,1", *corpus, cache, *TINY, f"hydra.sweep.dir={folder}")
    assert status == 1 and statuses(folder) == {0: "failed", 1: "failed"}
    assert "RuntimeError: unexpected error" in output and "in broken" in (folder / "1" / "train.log").read_text()


def test_an_optuna_sweep_survives_a_failed_trial_and_resumes(corpus, cache, tmp_path, monkeypatch, capsys):
    pytest.importorskip("optuna", reason="needs hydra-optuna-sweeper")
    folder = tmp_path / "sweep"
    arguments = [
        *("hparams_search=table", "hydra.sweeper.n_trials=3", "model.sides=choice([3,3],[7,7])"),
        *(*corpus, cache, *TINY, f"hydra.sweep.dir={folder}"),
    ]
    status, _ = sweep(monkeypatch, capsys, *arguments)
    first = statuses(folder)
    assert status == 1 and sorted(first) == [0, 1, 2] and set(first.values()) == {"completed", "failed"}
    assert "best_value" in (folder / "optimization_results.yaml").read_text()
    done = {number: content(folder / str(number)) for number, state in first.items() if state == "completed"}
    # The same seed draws the same trials, so an interrupted study resumes.
    sweep(monkeypatch, capsys, *arguments)
    assert all(statuses(folder)[number] == "kept" for number in done)
    assert {number: content(folder / str(number)) for number in done} == done


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    entered = threading.Event()

    def train():
        with exclusive_lock(tmp_path):
            entered.set()

    with FileLock(tmp_path / ".lock"):
        waiting = threading.Thread(target=train)
        waiting.start()
        assert not entered.wait(0.3)
    waiting.join(timeout=20)
    assert entered.is_set()
    with exclusive_lock(tmp_path):
        pass
