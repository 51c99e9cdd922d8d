"""``lightrnn-train``: train one model (Hydra overrides on the command line; ``-m`` sweeps)."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained
from lightrnn_pl.cli.sweep import as_job, told_at_the_end


def main() -> None:
    """The command."""
    with told_at_the_end():
        run()


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="train")
@explained
@as_job
def run(config: DictConfig) -> float | None:
    """Train; the validation perplexity is returned for sweepers."""
    # torch and Lightning take seconds to import: not before Hydra has answered --help and --cfg.
    from lightrnn_pl.training.experiment import train
    from lightrnn_pl.training.locking import alone_in

    with alone_in(config.paths.run_dir):
        metrics = train(config)
    return (metrics.get("validation") or {}).get("perplexity")


if __name__ == "__main__":
    main()
