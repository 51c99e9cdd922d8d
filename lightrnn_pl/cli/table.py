"""``lightrnn-table``: look at a model's word table, compare it, export it, or grow it by new words."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="table")
@explained
def main(config: DictConfig) -> None:
    """Show the table of ``config.checkpoint``, and do with it what else is asked for."""
    from lightrnn_pl.evaluation.tables import show_table

    show_table(config)


if __name__ == "__main__":
    main()
