"""A run killed with SIGKILL at any moment resumes and ends bit-identical to an uninterrupted one."""

import functools
import os
import shutil
import signal

import pytest
import torch

from lightrnn_pl.allocation.initial.cooccurrence import CooccurrenceAllocation
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training import experiment
from lightrnn_pl.training.callbacks.resume_point import ResumePoint
from lightrnn_pl.training.experiment import train
from lightrnn_pl.training.module import LanguageModelingModule
from tests.training import runs
from tests.training.states import assert_same_bits, best_state, last_state

OVERRIDES = [
    *("resume_point.every_steps=10", "schedule.decay=0.5", "optimizer.lr=0.5"),
    *("reallocation.max_rounds=3", "reallocation.epochs_per_round=2", "reallocation.patience=9"),
    "trainer.limit_train_batches=20",
]
OPTIMIZERS = {
    "sgd": [],
    "adam": ["optimizer=adam", "reallocation.optimizer_state=keep"],
    # With these numbers, no checkpoint becomes due exactly at the end of a group of accumulated batches.
    "accumulate": ["trainer.accumulate_grad_batches=3", "resume_point.every_steps=2"],
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny_text):
    """The folder and the metrics of a run with an optimizer."""

    @functools.cache
    def run(optimizer: str):
        run_dir = tmp_path_factory.mktemp("whole") / "run"
        return run_dir, train(runs.compose_run(run_dir, tiny_text, *OVERRIDES, *OPTIMIZERS[optimizer]))

    return run


@pytest.mark.parametrize(
    ("optimizer", "moment"),
    [
        ("accumulate", "write=3"),
        ("sgd", "step=35"),
        ("sgd", "reallocation"),
        ("sgd", "write=3"),
        ("adam", "step=111"),
    ],
)
def test_a_killed_run_ends_bit_identical(moment, uninterrupted, optimizer, tiny_text, tmp_path):
    whole_dir, whole = uninterrupted(optimizer)
    overrides = [*OVERRIDES, *OPTIMIZERS[optimizer]]
    assert len(whole["rounds"]) == 3 and whole["rounds"][0]["reallocation"]["words_moved"] > 0
    run_dir = tmp_path / "run"
    runs.kill_run(moment, run_dir, tiny_text, *overrides)
    resumed = train(runs.compose_run(run_dir, tiny_text, *overrides))
    assert_same_bits(last_state(run_dir), last_state(whole_dir))
    assert_same_bits(best_state(run_dir), best_state(whole_dir))
    for key in ("test", "validation", "table"):
        assert resumed[key] == whole[key]
    for summary, expected in zip(resumed["rounds"], whole["rounds"], strict=True):
        assert summary["validations"] == expected["validations"] and summary["epochs"] == expected["epochs"]
    assert [entry["step"] for entry in resumed["history"]] == [entry["step"] for entry in whole["history"]]


def test_a_resumed_run_does_not_recompute_the_initial_allocation(tiny_text, tmp_path, monkeypatch):
    overrides = [*OVERRIDES, "allocation=cooccurrence"]
    whole = train(runs.compose_run(tmp_path / "whole", tiny_text, *overrides))
    runs.kill_run("step=35", tmp_path / "run", tiny_text, *overrides)
    monkeypatch.setattr(CooccurrenceAllocation, "__call__", lambda *args, **kwargs: pytest.fail("recomputed"))
    resumed = train(runs.compose_run(tmp_path / "run", tiny_text, *overrides))
    assert_same_bits(last_state(tmp_path / "run"), last_state(tmp_path / "whole"))
    assert resumed["table"] == whole["table"] and resumed["test"] == whole["test"]


@pytest.mark.parametrize("storage", ["hidden", "scores"])
def test_a_run_killed_while_it_collects_statistics_ends_bit_identical(storage, tiny_text, tmp_path):
    overrides = [
        *("experiment=lightrnn/paper", "solver=exact", f"reallocation.storage={storage}"),
        *("reallocation.max_rounds=2", "reallocation.epochs_per_round=1", "reallocation.patience=9"),
        *("trainer.val_check_interval=0.4", "trainer.limit_train_batches=20", "trainer.max_epochs=2"),
        "resume_point.every_steps=5",
    ]
    whole = train(runs.compose_run(tmp_path / "whole", tiny_text, *overrides))
    # Statistics are collected from step 17 to 28.  Step 20 ends an epoch, so the last checkpoint is that of step 21.
    runs.kill_run("step=24", tmp_path / "run", tiny_text, *overrides)
    checkpoint = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 21 and checkpoint["callbacks"]["Reallocation"]["windows"][0]["batches"] == 5
    resumed = train(runs.compose_run(tmp_path / "run", tiny_text, *overrides))
    assert_same_bits(last_state(tmp_path / "run"), last_state(tmp_path / "whole"))
    assert (resumed["table"], resumed["test"]) == (whole["table"], whole["test"])
    one, other = (metrics["rounds"][0]["reallocation"] for metrics in (resumed, whole))
    assert one["statistics"] == "training" and one["words_moved"] > 0
    for key in ("cost", "nll_before", "nll_predicted", "nll_measured"):
        assert one[key] == other[key]


@pytest.mark.usefixtures("default_interrupt_handler")
def test_a_run_without_a_resume_point_starts_over_and_says_so(tiny_text, tmp_path, monkeypatch, caplog, capsys):
    config = runs.compose_run(tmp_path / "run", tiny_text, "trainer.max_steps=3", "reallocation=none")
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModelingModule, "on_train_start", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            train(config)
    assert "interrupted before the first resume point" in capsys.readouterr().err
    with caplog.at_level("INFO"):
        train(config)
    assert f"{tmp_path / 'run'} was interrupted before its first resume point; starting over" in caplog.text


@pytest.mark.usefixtures("default_interrupt_handler")
@pytest.mark.parametrize(
    ("number", "optimizer"),
    [(signal.SIGINT, "sgd"), (signal.SIGINT, "accumulate"), (signal.SIGTERM, "sgd")],
)
def test_a_signal_during_training_loses_no_batch(
    number, optimizer, uninterrupted, tiny_text, tmp_path, monkeypatch, capsys
):
    """A resume point is written after the batch in which the signal arrives, or after the accumulated ones."""
    run_dir = tmp_path / "run"
    config = runs.compose_run(run_dir, tiny_text, *OVERRIDES, *OPTIMIZERS[optimizer], "resume_point.every_steps=9999")
    batches = 0

    def training_step(module, batch, index):
        nonlocal batches
        batches += 1
        if batches == 25:
            os.kill(os.getpid(), number)
        return step(module, batch, index)

    step = LanguageModelingModule.training_step
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModelingModule, "training_step", training_step)
        with pytest.raises(SystemExit, match=str(128 + number)):
            train(config)
    assert f"interrupted; rerun the command with hydra.run.dir={run_dir} to resume" in capsys.readouterr().err
    assert batches == (26 if optimizer == "accumulate" else 25)
    assert torch.load(run_dir / "last.ckpt", weights_only=True)["global_step"] == (
        9 if optimizer == "accumulate" else 25
    )
    whole_dir, whole = uninterrupted(optimizer)
    assert train(config)["test"] == whole["test"]
    assert_same_bits(best_state(run_dir), best_state(whole_dir))


@pytest.mark.parametrize("end", ["trainer.max_steps=23", "trainer.max_time=00:00:00:01", "reallocation.max_rounds=2"])
def test_a_run_interrupted_in_the_final_evaluation_repeats_only_the_evaluation(
    end, tiny_text, tmp_path, monkeypatch, caplog
):
    overrides = [
        *OVERRIDES,
        "resume_point.every_steps=1",
        "trainer.limit_train_batches=9",
        "trainer.max_epochs=9999",
        end,
    ]
    config = runs.compose_run(tmp_path / "run", tiny_text, *overrides)
    with monkeypatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(experiment, "word_losses", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert caplog.text.count("epochs because of trainer.max_time") == ("max_time" in end)
    interrupted = RunFolder(tmp_path / "run").read_metrics()
    assert interrupted["status"] == "interrupted" and interrupted["history"]
    monkeypatch.setattr(LanguageModelingModule, "training_step", lambda *_: pytest.fail("trained again"))
    with caplog.at_level("INFO"):
        resumed = train(config)
    assert "training was complete; only the final evaluation follows" in caplog.text
    assert (resumed["status"], resumed["history"]) == ("completed", interrupted["history"])
    monkeypatch.undo()
    if "time" not in end:
        whole = train(runs.compose_run(tmp_path / "whole", tiny_text, *overrides))
        assert_same_bits(last_state(tmp_path / "run"), last_state(tmp_path / "whole"))
        assert (resumed["table"], resumed["test"]) == (whole["table"], whole["test"])
        assert len(resumed["rounds"]) == len(whole["rounds"])


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_a_complete_run_is_not_repeated(uninterrupted, tiny_text):
    run_dir, whole = uninterrupted("sgd")
    modified = (run_dir / "best.ckpt").stat().st_mtime_ns
    again = train(runs.compose_run(run_dir, tiny_text, *OVERRIDES))
    assert again["test"] == whole["test"]
    assert (run_dir / "best.ckpt").stat().st_mtime_ns == modified


def test_a_run_resumes_in_other_directories(uninterrupted, tiny_text, tmp_path, monkeypatch):
    run_dir, whole = uninterrupted("sgd")
    monkeypatch.chdir(tmp_path)
    assert train(runs.compose_run(run_dir, tiny_text, *OVERRIDES))["test"] == whole["test"]
    monkeypatch.chdir(tiny_text["train"].parent)
    names = {split: path.name for split, path in tiny_text.items()}
    assert train(runs.compose_run(run_dir, names, *OVERRIDES))["test"] == whole["test"]
    with pytest.raises(ValueError, match=r"a different configuration \(data.train: \['.*train.txt'\] in the folder\)"):
        train(runs.compose_run(run_dir, {**names, "train": "valid.txt"}, *OVERRIDES))


def test_rejects_another_length_of_a_complete_run(uninterrupted, tiny_text):
    run_dir, _ = uninterrupted("sgd")
    with pytest.raises(ValueError, match=r"is complete, with other values of trainer\.max_time; .* init_from=.*/run"):
        train(runs.compose_run(run_dir, tiny_text, *OVERRIDES, "trainer.max_time=00:00:09:00"))


def test_rejects_another_configuration_in_the_same_folder(uninterrupted, tiny_text):
    run_dir, _ = uninterrupted("sgd")
    with pytest.raises(
        ValueError,
        match=r"a different configuration \(.*model.hidden_dim: 8 in the folder\); pass another hydra.run.dir",
    ):
        train(runs.compose_run(run_dir, tiny_text, *OVERRIDES, "model.hidden_dim=9"))


def test_the_error_for_a_damaged_checkpoint_contains_the_remedy(uninterrupted, tiny_text, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(uninterrupted("sgd")[0], run_dir)
    (run_dir / "config.yaml").unlink()
    (run_dir / "metrics.json").unlink()
    content = (run_dir / "last.ckpt").read_bytes()
    (run_dir / "last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"last.ckpt is damaged, .* delete it to restart the run from scratch"):
        train(runs.compose_run(run_dir, tiny_text, *OVERRIDES))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_minutes": -1}, "resume_point.every_minutes must be a number greater than or equal to 0, got -1"),
        ({"every_steps": 0}, "resume_point.every_steps must be an integer greater than or equal to 1, got 0"),
    ],
)
def test_rejects_invalid_settings(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        ResumePoint(tmp_path / "last.ckpt", **settings)
