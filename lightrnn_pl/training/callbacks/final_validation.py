"""A last validation where training was cut off after the last regular one, so that no step goes unjudged."""

from __future__ import annotations

import pytorch_lightning as pl

from lightrnn_pl.evaluation.perplexity import mean_nll
from lightrnn_pl.training.callbacks.best_bundle import BestBundle
from lightrnn_pl.training.callbacks.run_metrics import RunMetrics
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.progress import learning_rate
from lightrnn_pl.training.reallocation.callback import Reallocation


class FinalValidation(pl.Callback):
    """Judges the model when ``max_steps``, ``max_time`` and the like end training between two validations.

    Args:
        metrics: Told of the validation.
        bundle: Keeps the model if it is the best.
        reallocation: Whose round it belongs to.
    """

    def __init__(self, metrics: RunMetrics, bundle: BestBundle, reallocation: Reallocation) -> None:
        self.metrics, self.bundle, self.reallocation = metrics, bundle, reallocation

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate if steps were made since the last time."""
        history = self.metrics.history
        if trainer.global_step == (history[-1]["step"] if history else 0):
            return
        assert isinstance(pl_module, LanguageModelingModule)
        batches = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]  # set by Trainer.fit
        nll = mean_nll(pl_module.model, batches, pl_module.device)
        self.metrics.note(trainer, nll, learning_rate(trainer))
        self.bundle.judge(trainer, pl_module, nll)
        self.reallocation.observe(trainer, nll, pl_module.model)
