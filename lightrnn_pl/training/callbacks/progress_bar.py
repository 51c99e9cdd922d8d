"""The progress bar of training."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from typing_extensions import override


class TrainingProgressBar(RichProgressBar):
    """Lightning's progress bar, updated every ``refresh_rate`` batches only.

    Lightning's own reads the loss after every batch, for which the host waits for the device.
    """

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = batch_idx + 1
        if number % self.refresh_rate == 0 or number == trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
