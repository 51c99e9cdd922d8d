"""Training of a model for a few steps on random words, without a corpus.

As a script, ``python -m tests.training.tiny_fit OVERRIDE...`` prints, for each precision, the validation loss or the
error that refuses it, as JSON.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.data.batches import StreamBatches
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.precision import PRECISIONS, check_precision
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

VOCABULARY = Vocabulary([f"w{number}" for number in range(40)], range(80, 40, -1))
QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False}


def compose_tiny(*overrides: str) -> DictConfig:
    """The configuration of a one-layer model without dropout."""
    sizes = ("model.hidden_dim=40", "model.num_layers=1", "model.dropout=0.0", "trainer.max_epochs=1")
    return compose_overrides(*sizes, *overrides)


def build_module(config: DictConfig) -> LanguageModelingModule:
    """The module of ``config``, with weights of a fixed seed."""
    torch.manual_seed(0)
    model = build_model(config, build_allocation(config, VOCABULARY), VOCABULARY)
    return LanguageModelingModule(model, instantiate(config.optimizer))


def batches(training: bool = True) -> StreamBatches:
    """Three windows of random words from four streams."""
    tokens = np.random.default_rng(0).integers(0, 40, 4 * 7 * 3).astype(np.int32)
    return StreamBatches(tokens, 4, 7, context=0, drop_remainder=training)


def validation_loss(config: DictConfig) -> float:
    """Train for three steps; the validation loss."""
    trainer = instantiate(config.trainer, **QUIET)
    trainer.fit(build_module(config), batches(), batches(training=False))
    return float(trainer.callback_metrics["valid/nll"])


def loss_or_error(*overrides: str) -> float | str:
    """The validation loss, or the error that refuses the precision before training."""
    config = compose_tiny(*overrides)
    try:
        check_precision(config)
    except ValueError as error:
        return str(error)
    return validation_loss(config)


if __name__ == "__main__":
    print(json.dumps({name: loss_or_error(f"trainer.precision={name}", *sys.argv[1:]) for name in PRECISIONS}))
