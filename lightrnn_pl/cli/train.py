"""``lightrnn-train``: train one model (Hydra overrides on the command line; ``-m`` sweeps)."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="train")
@explained
def main(config: DictConfig) -> float | None:
    """Train; the validation perplexity is returned for sweepers."""
    # torch and Lightning take seconds to import: not before Hydra has answered --help and --cfg.
    from lightrnn_pl.training.experiment import train

    metrics = train(config)
    return (metrics.get("validation") or {}).get("perplexity")


if __name__ == "__main__":
    main()
