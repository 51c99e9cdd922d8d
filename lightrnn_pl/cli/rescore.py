"""``lightrnn-rescore``: rerank n-best lists with language models."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="rescore")
@explained
def main(config: DictConfig) -> None:
    """Rescore ``config.test`` with ``config.checkpoints``, with weights tuned on ``config.dev``."""
    from lightrnn_pl.evaluation.rescoring_command import rescore

    rescore(config)


if __name__ == "__main__":
    main()
