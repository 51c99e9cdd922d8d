"""The run folder: what a run keeps, and whether another call may go on in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.building import as_plain
from lightrnn_pl.files import atomic_write

DEFINES_A_RUN = (
    "data",
    "model",
    "allocation",
    "reallocation",
    "solver",
    "schedule",
    "optimizer",
    "loss_reduction",
    "seed",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
    "trainer.limit_train_batches",
    "trainer.precision",
    "trainer.val_check_interval",
)
"""Parts of the configuration that may not change when a run is resumed; the others may."""


class RunFolder:
    """Where a run keeps what it makes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.json"
        self.best = self.path / "best.ckpt"
        self.last = self.path / "last.ckpt"
        self.picture = self.path / "perplexity.png"
        self.tables = self.path / "tables"

    def write_config(self, config: DictConfig) -> None:
        """Keep the resolved configuration."""
        with atomic_write(self.config, "w") as file:
            file.write(OmegaConf.to_yaml(config, resolve=True))

    def known_metrics(self) -> dict[str, Any]:
        """What an earlier call wrote of its metrics, nothing if there was none."""
        return json.loads(self.metrics.read_text(encoding="utf-8")) if self.metrics.is_file() else {}

    def check_same_run(self, config: DictConfig) -> None:
        """Refuse to go on here with another configuration.

        Raises:
            ValueError: Naming the keys that differ.
        """
        if not self.config.is_file():
            return
        before, now = OmegaConf.to_container(OmegaConf.load(self.config)), as_plain(config)
        assert isinstance(before, dict)
        differing = [
            key for part in DEFINES_A_RUN for key in _differences(part, value_at(before, part), value_at(now, part))
        ]
        if differing:
            raise ValueError(
                f"{self.path} holds a run with another configuration ({', '.join(differing[:8])}); "
                "give another hydra.run.dir, or resume=false to throw that run away"
            )

    def clear(self) -> None:
        """Remove what an earlier run left."""
        for path in (self.config, self.metrics, self.best, self.last, self.picture):
            path.unlink(missing_ok=True)
        for table in self.tables.glob("round_*.npz"):
            table.unlink()


def value_at(config: Any, dotted: str) -> Any:
    """What plain dictionaries hold under a dotted key, None if they do not have it."""
    for key in dotted.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _differences(prefix: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other}, key=str)
        return [found for key in keys for found in _differences(f"{prefix}.{key}", one.get(key), other.get(key))]
    return [] if one == other else [prefix]
