"""Creates run folders for tests, without training."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

CONFIG: dict[str, Any] = {
    "name": "lightrnn-ptb",
    "seed": 0,
    "data": {
        "_target_": "lightrnn_pl.data.datamodule.CorpusDataModule.from_text",
        "name": "ptb",
        "seed": 0,
        "root": "/home/someone/src",
        "train": "/home/someone/ptb/train.txt",
        "cache_dir": "/home/someone/.cache",
    },
    "model": {"hidden_dim": 200, "embedding_dim": 200, "dropout": 0.2, "core": {"hidden_dim": 200, "dropout": 0.2}},
    "allocation": {"_target_": "lightrnn_pl.allocation.initial.random.RandomAllocation", "seed": 0},
    "solver": {"_target_": "lightrnn_pl.allocation.solvers.AuctionSolver", "gap": 0.001},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 1.0},
    "paths": {"run_dir": "/home/someone/runs/a", "cache_dir": "/home/someone/.cache"},
}


def set_key(config: dict[str, Any], dotted: str, value: Any) -> None:
    *nodes, last = dotted.split(".")
    for node in nodes:
        config = config.setdefault(node, {})
    config[last] = value


def make_run(
    path: Path, seed: int = 0, test: float = 100.0, metrics: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """Create a completed run; ``changes`` are configuration keys with ``__`` in place of dots."""
    config = copy.deepcopy(CONFIG)
    for key in ("seed", "data.seed", "allocation.seed"):
        set_key(config, key, seed)
    for key, value in changes.items():
        set_key(config, key.replace("__", "."), value)
    content = {
        "status": "completed",
        "name": config["name"],
        "seed": seed,
        "parameters": 401_800,
        "bytes": {"parameters": 1_607_200, "tables": 40_000},
        "components": 2,
        "sides": [100, 100],
        "vocabulary": 10_000,
        "tokens": {"train": 929_589, "valid": 73_760, "test": 82_430},
        "words_per_second": 7_700.0 + seed,
        "seconds": 3600.0,
        "rounds": [{"round": 1, "valid_perplexity": 120.0}, {"round": 2, "valid_perplexity": 105.0 + seed}],
        "history": [{"epoch": 1.0, "valid_perplexity": 120.0, "seconds": 1000.0}],
        "validation": {"perplexity": test + 5},
        "test": {"perplexity": test},
        "checkpoint": {"path": "best.ckpt", "sha256": f"{path.name}-{seed}"},
        **(metrics or {}),
    }
    path.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(config), path / "config.yaml")
    (path / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    return path


TOKENS = {"train": 929_589, "valid": 73_760, "test": 82_430}


def mixture(sha256: str, combined: float, tokens=TOKENS, **more) -> dict:
    """The JSON of ``lightrnn-evaluate interpolate=kn json=FILE``."""

    def splits(perplexity: float) -> dict:
        return {split: {"nll": 1.0, "perplexity": perplexity} for split in ("valid", "test")}

    return {
        "checkpoint": "/home/someone/runs/a/best.ckpt",
        "sha256": sha256,
        "protocol": {"corpus": "ptb", "tokens": tokens},
        "splits": splits(100.0),
        "interpolation": {
            "members": [
                {"name": "neural model", "weight": 0.6, "splits": splits(100.0)},
                {"name": "Kneser-Ney 5-gram", "weight": 0.4, "splits": splits(141.5)},
                *more.get("members", ()),
            ],
            "combined": splits(combined),
        },
    }
