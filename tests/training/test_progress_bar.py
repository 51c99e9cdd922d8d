"""The remaining time in the progress bar of training, and the lines that replace the bar without a terminal."""

from types import SimpleNamespace

import pytest
from pytorch_lightning.callbacks import Timer
from rich.progress import Task

from lightrnn_pl.training.callbacks import progress_bar
from lightrnn_pl.training.callbacks.progress_bar import TrainingProgressBar
from lightrnn_pl.training.experiment import train
from tests.training.runs import compose_run


@pytest.mark.parametrize(
    ("max_time", "number", "expected"),
    [("00:00:01:30", 0, "0:01:30"), ("00:09:00:00", 0, "0:10:00"), ("00:00:01:30", 1, "0:10:00"), (None, 0, "0:10:00")],
)
def test_training_ends_with_the_epoch_or_with_max_time(max_time, number, expected, monkeypatch):
    monkeypatch.setattr(Task, "time_remaining", 600.0)
    monkeypatch.setattr(Timer, "time_elapsed", lambda self, stage="train": 0.0)
    bar = TrainingProgressBar()
    bar.train_progress_bar_id = 0
    callbacks = [] if max_time is None else [Timer(max_time)]
    *_, column = bar.configure_columns(SimpleNamespace(callbacks=callbacks))
    task = Task(number, "epoch 1", total=100, completed=10, _get_time=lambda: 0.0)
    assert column.render(task).plain == expected


@pytest.mark.parametrize(("seconds", "lines"), [(-1, 3), (60, 0)])
def test_without_a_terminal_progress_is_logged(seconds, lines, tiny_text, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress_bar, "_SECONDS_PER_LINE", seconds)
    overrides = ("callbacks=default", "trainer.max_epochs=1", "trainer.limit_train_batches=3", "reallocation=none")
    with caplog.at_level("INFO"):
        train(compose_run(tmp_path / "run", tiny_text, *overrides))
    assert [f"epoch 1: batch {number} of 3" in caplog.messages for number in (1, 2, 3)] == [lines > 0] * 3
    assert ("validation: batch 1 of " in caplog.text) == (lines > 0)
