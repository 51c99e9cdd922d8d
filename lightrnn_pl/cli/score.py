"""``lightrnn-score``: log-probabilities of text, line by line."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="score")
@explained
def main(config: DictConfig) -> None:
    """Score the lines of ``config.text`` with ``config.checkpoint``."""
    from lightrnn_pl.evaluation.scoring_command import score

    score(config)


if __name__ == "__main__":
    main()
