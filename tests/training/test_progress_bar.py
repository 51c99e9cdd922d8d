"""The remaining time in the progress bar of training."""

from types import SimpleNamespace

import pytest
from pytorch_lightning.callbacks import Timer
from rich.progress import Task

from lightrnn_pl.training.callbacks.progress_bar import TrainingProgressBar


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
