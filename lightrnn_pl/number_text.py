"""How perplexities, epochs and limits of batches are written in terminal output and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def perplexity_text(value: float | None) -> str:
    """A perplexity with two decimals, or in scientific notation from a million; None (JSON's infinity) is ``inf``."""
    if value is None:
        return "inf"
    return f"{value:,.2f}" if value < 1e6 else f"{value:.3g}"


def epochs_text(value: float) -> str:
    """A number of epochs with up to two decimals, or with one significant digit below 0.1."""
    return f"{value:,.2f}".rstrip("0").rstrip(".") if value >= 0.1 else f"{value:.1g}"


def batch_limit_text(trainer: Mapping[str, Any], *keys: str) -> str | None:
    """The first of some overrides of the trainer that limits the batches of a text; None if none does.

    Args:
        trainer: The options of Lightning's ``Trainer``.
        keys: Names of options, such as ``limit_train_batches`` and ``overfit_batches``.
    """
    for key in keys:
        if trainer.get(key) not in (None, 0.0 if key == "overfit_batches" else 1.0):
            return f"trainer.{key}={trainer[key]}"
    return None
