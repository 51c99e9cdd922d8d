"""The progress bar of training, in one line of 80 columns."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar, Timer
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from typing_extensions import override

log = logging.getLogger(__name__)

_SECONDS_PER_LINE = 60


class TrainingProgressBar(RichProgressBar):
    """Lightning's progress bar with fewer columns, updated every ``refresh_rate`` batches only.

    Lightning's own reads the loss after every batch, for which the host waits for the device.  If the output is not a
    terminal, a line per minute is logged instead.

    Args:
        refresh_rate: Batches between updates.
        leave: Whether the bars of finished epochs stay on the screen.
    """

    def __init__(self, refresh_rate: int = 10, leave: bool = False) -> None:
        super().__init__(refresh_rate, leave, RichProgressBarTheme(metrics_format=".2f"))
        self._last_line = time.monotonic()

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = batch_idx + 1
        if number % self.refresh_rate == 0 or number == trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._log(trainer, f"epoch {trainer.current_epoch + 1}", number, trainer.num_training_batches)

    @override
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self._log(trainer, "validation", batch_idx + 1, trainer.num_val_batches[dataloader_idx])

    def _log(self, trainer: pl.Trainer, description: str, number: int, total: float) -> None:
        is_due = time.monotonic() - self._last_line > _SECONDS_PER_LINE
        if is_due and trainer.is_global_zero and not sys.stdout.isatty():
            self._last_line = time.monotonic()
            log.info("%s: batch %s of %s", description, f"{number:,}", f"{total:,}")

    @override
    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        return [
            TextColumn("{task.description}"),
            BarColumn(bar_width=14),
            MofNCompleteColumn(),
            _RemainingTime(self, [timer for timer in trainer.callbacks if isinstance(timer, Timer)]),  # type: ignore[attr-defined]
        ]

    @override
    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The training loss, and the last validation perplexity."""
        metrics = super().get_metrics(trainer, pl_module)
        names = {"train/nll": "loss", "train/loss": "loss", "valid/perplexity": "valid"}
        return {name: metrics[key] for key, name in names.items() if key in metrics}

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}"

    @property
    @override
    def validation_description(self) -> str:
        return "validation"


class _RemainingTime(TimeRemainingColumn):
    """The remaining time of the epoch, or that until ``trainer.max_time`` if it is shorter."""

    def __init__(self, bar: RichProgressBar, timers: Sequence[Timer]) -> None:
        super().__init__(elapsed_when_finished=True)
        self._bar, self._timers = bar, timers

    @override
    def render(self, task: Task) -> Text:
        limits = [limit for timer in self._timers if (limit := timer.time_remaining()) is not None]
        if not limits or task.finished or task.id != self._bar.train_progress_bar_id:
            return super().render(task)
        seconds = max(0.0, min(limits))
        if task.time_remaining is not None and task.time_remaining < seconds:
            return super().render(task)
        return Text(str(timedelta(seconds=int(seconds))), style="progress.remaining")
