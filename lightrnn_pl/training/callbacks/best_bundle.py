"""Saving the best model so far as a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.plateau import Plateau


class BestBundle(pl.Callback):
    """Writes ``best.ckpt`` whenever the validation loss is the lowest of the whole run.

    Args:
        path: The file.
        make_bundle: Creates the bundle from the model and its metrics.
    """

    def __init__(self, path: str | Path, make_bundle: Callable[[LanguageModel, dict[str, Any]], Bundle]) -> None:
        self.path = Path(path)
        self.make_bundle = make_bundle
        self._validation = Plateau()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the model if it is the best so far."""
        if not trainer.sanity_checking:
            self.update(trainer, pl_module, float(trainer.callback_metrics["valid/nll"]))

    def update(self, trainer: pl.Trainer, pl_module: pl.LightningModule, nll: float) -> None:
        """Save the model if ``nll``, its validation loss in nats per word, is the lowest so far."""
        if self._validation.update(nll) and trainer.is_global_zero:
            assert isinstance(pl_module, LanguageModelingModule)
            metrics = {"valid_nll": nll, "epoch": trainer.current_epoch, "step": trainer.global_step}
            self.make_bundle(pl_module.model, metrics).save(self.path)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return self._validation.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self._validation.load_state_dict(state_dict)
