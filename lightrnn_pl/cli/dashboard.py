"""``lightrnn-dashboard``: the W&B workspace that shows runs of this project."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="dashboard")
@explained
def main(config: DictConfig) -> None:
    """Print the panels of the workspace that ``config`` describes, and make it."""
    from lightrnn_pl.training.workspace import make_workspace

    make_workspace(config)


if __name__ == "__main__":
    main()
