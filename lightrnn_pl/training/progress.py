"""Progress of training within an epoch, for callbacks, and of passes over a text, for the log.

Lightning updates its epoch counter only after the hooks that call these functions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.allocation.progress_log import with_log
from lightrnn_pl.data.batches import Batch, Loader

log = logging.getLogger(__name__)


def with_batch_log(batches: Loader | Sequence[Any], description: str) -> Iterator[Batch]:
    """The same batches; the first rank logs every few seconds how many of them have been processed."""
    total = f"{len(batches):,}"

    @rank_zero_only
    def report(number: int) -> None:
        log.info("%s: batch %s of %s.", description, f"{number:,}", total)

    return with_log(batches, report)


def ends_epoch(trainer: pl.Trainer) -> bool:
    """Whether the last training batch, or the validation that follows it, ends the epoch."""
    return trainer.fit_loop.epoch_loop.batch_progress.is_last_batch


def epochs_done(trainer: pl.Trainer) -> float:
    """Epochs of training so far, including the fraction of the current one."""
    started = trainer.fit_loop.epoch_progress.current.ready  # trainer.current_epoch is one more at the end of training
    if ends_epoch(trainer):
        return float(started)
    ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return started - 1 + ready / trainer.num_training_batches


def validation_interval(trainer: pl.Trainer) -> float:
    """Epochs between two validations, at most one."""
    batches = trainer.val_check_batch
    if batches is None or batches >= trainer.num_training_batches:
        return 1.0
    return batches / trainer.num_training_batches


def next_validation(trainer: pl.Trainer, batch_idx: int) -> float:
    """Epochs of training at the first validation after batch ``batch_idx`` of the current epoch has started."""
    batches = trainer.num_training_batches
    every = round(validation_interval(trainer) * batches)
    done = (batch_idx // every + 1) * every
    # Intervals restart with each epoch, so an epoch can end without a validation.
    return trainer.current_epoch + (done if done <= batches else batches + every) / batches


def is_accumulating(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether the gradients of batch ``batch_idx`` are to be added to those of the next one before a step is taken."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches != 0


def validates_after(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a validation, or the end of the epoch, follows batch ``batch_idx``."""
    every = trainer.val_check_batch
    validates = every not in (None, float("inf")) and (batch_idx + 1) % every == 0
    return validates or ends_epoch(trainer)


def learning_rate(trainer: pl.Trainer) -> float:
    """The learning rate of the next training step."""
    return float(trainer.optimizers[0].param_groups[0]["lr"])
