"""``lightrnn-export``: a trained model in open formats, read back and checked before it is called done."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="export")
@explained
def main(config: DictConfig) -> None:
    """Export ``config.checkpoint`` to ``config.output``."""
    from lightrnn_pl.export.command import export

    export(config)


if __name__ == "__main__":
    main()
