"""``lightrnn-train``: train one model."""

from __future__ import annotations

from omegaconf import DictConfig

from lightrnn_pl.training.experiment import train as train_model
from lightrnn_pl.training.folder_lock import exclusive_lock


def train(config: DictConfig) -> float | None:
    """Train a model, and return the validation perplexity for Hydra's sweepers."""
    with exclusive_lock(config.paths.run_dir):
        metrics = train_model(config)
    return (metrics.get("validation") or {}).get("perplexity")
