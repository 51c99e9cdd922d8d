"""``lightrnn-evaluate``: perplexity of a trained model, with the protocol stated beside it."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="evaluate")
@explained
def main(config: DictConfig) -> None:
    """Evaluate ``config.checkpoint`` on its own corpus or another."""
    from lightrnn_pl.evaluation.command import evaluate

    evaluate(config)


if __name__ == "__main__":
    main()
