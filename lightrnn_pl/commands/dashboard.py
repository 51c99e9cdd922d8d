"""``lightrnn-dashboard``: create the W&B workspace that shows runs of this project."""

from __future__ import annotations

from omegaconf import DictConfig

from lightrnn_pl.training.tracking.wandb_workspace import make_workspace


def dashboard(config: DictConfig) -> None:
    """Print the panels of the workspace, and create it."""
    make_workspace(config)
