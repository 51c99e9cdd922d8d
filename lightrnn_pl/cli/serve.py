"""``lightrnn-serve``: a page on this machine to use a trained model from."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="serve")
@explained
def main(config: DictConfig) -> None:
    """Serve a page for ``config.checkpoint`` until interrupted."""
    from lightrnn_pl.serving.command import serve

    serve(config)


if __name__ == "__main__":
    main()
