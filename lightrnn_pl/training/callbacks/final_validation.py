"""A final validation for training steps after the last regular one."""

from __future__ import annotations

import logging

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.evaluation.perplexity import mean_nll
from lightrnn_pl.training.callbacks.best_bundle import BestBundle
from lightrnn_pl.training.callbacks.run_metrics import RunMetrics
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.progress import epochs_done, learning_rate, with_batch_log
from lightrnn_pl.training.reallocation.callback import Reallocation

log = logging.getLogger(__name__)


class FinalValidation(pl.Callback):
    """Validates the model if ``max_steps``, ``max_time`` or the like ended training between two validations.

    Args:
        metrics: Records the validation.
        best_bundle: Saves the model if it is the best.
        reallocation: Adds the validation to the current round.
    """

    def __init__(self, metrics: RunMetrics, best_bundle: BestBundle, reallocation: Reallocation) -> None:
        self.metrics, self.best_bundle, self.reallocation = metrics, best_bundle, reallocation
        self._is_limit_logged = False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log which limit ended training, if this is the validation with which it ends."""
        if trainer.should_stop:
            self._log_limit(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate if there were training steps since the last validation."""
        self._log_limit(trainer)
        history = self.metrics.history
        if trainer.global_step == (history[-1]["step"] if history else 0):
            return
        assert isinstance(pl_module, LanguageModelingModule)
        loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]  # set by Trainer.fit
        batches = with_batch_log(loader, "Validation of the last steps")
        nll = mean_nll(pl_module.model, batches, pl_module.device)
        self.metrics.record_validation(trainer, nll, learning_rate(trainer))
        self.best_bundle.update(trainer, pl_module, nll)
        self.reallocation.record_validation(trainer, nll, pl_module.model)

    def _log_limit(self, trainer: pl.Trainer) -> None:
        if not self._is_limit_logged:
            self._is_limit_logged = True
            _log_limit(trainer)


@rank_zero_only
def _log_limit(trainer: pl.Trainer) -> None:
    """Log which limit ended training before its last epoch."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by Trainer.__init__
    timers = (callback for callback in callbacks if isinstance(callback, pl.callbacks.Timer))
    remaining = (timer.time_remaining() for timer in timers)
    limits = {
        "max_steps": trainer.global_step == trainer.max_steps,
        "max_time": any(seconds is not None and seconds <= 0 for seconds in remaining),
    }
    for name, is_reached in limits.items():
        if is_reached:
            log.info("training ended after %.2f epochs because of trainer.%s", epochs_done(trainer), name)
