"""Whether a run folder belongs to the same run as a configuration, so that training may resume in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lightrnn_pl.building import as_plain
from lightrnn_pl.data.corpus import SPLITS
from lightrnn_pl.run_folder import RunFolder, read_yaml

DEFINES_A_RUN = (
    "data",
    "model",
    "allocation",
    "reallocation",
    "solver",
    "schedule",
    "optimizer",
    "averaging",
    "init_from",
    "init_from_new_words",
    "loss_reduction",
    "regularization",
    "teacher",
    "teacher_weight",
    "seed",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
    "trainer.limit_train_batches",
    "trainer.precision",
    "trainer.val_check_interval",
)
"""Keys of the configuration that must not change when a run is resumed."""

LENGTH = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.min_epochs", "trainer.min_steps")
"""Keys that may change when a run is resumed, but not once it is complete."""


def check_same_run(folder: RunFolder, config: DictConfig, is_complete: bool) -> None:
    """Refuse to resume with another configuration, or a complete run, whose schedule has ended, with another length.

    Raises:
        ValueError: Naming the keys that differ.
    """
    if not folder.config.is_file():
        return
    before, now = read_yaml(folder.config), as_plain(config)
    if not isinstance(before, dict):
        raise ValueError(f"{folder.config} is damaged: it is not a mapping; delete it, or restore it from a copy")
    before, now = _with_absolute_paths(before), _with_absolute_paths(now)
    if differing := _differing(DEFINES_A_RUN, before, now):
        values = ", ".join(f"{key}: {_short(value_at(before, key))} in the folder" for key in differing[:8])
        raise ValueError(
            f"{folder.path} contains a run with a different configuration ({values}); pass another "
            "hydra.run.dir (in a sweep hydra.sweep.dir, with multirun_scripts FOLDER=...), or resume=false to delete "
            "that run"
        )
    if is_complete and (differing := _differing(LENGTH, before, now)):
        raise ValueError(
            f"the run in {folder.path} is complete, with other values of {', '.join(differing)}; to train its model "
            f"for longer, pass init_from={folder.path} and another hydra.run.dir, or resume=false to delete the "
            "run and train again"
        )


def value_at(config: Any, dotted: str) -> Any:
    """The value of a dotted key in nested dictionaries; None if it is missing."""
    for key in dotted.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _with_absolute_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the absolute paths of the text files of its corpus, in place of ``data.root``."""
    data = config.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("root"), str):
        return config
    paths = {
        split: [os.path.normpath(Path(data["root"]) / path) for path in listed]
        for split in SPLITS
        if (listed := [data[split]] if isinstance(data.get(split), str) else data.get(split))
    }
    return {**config, "data": {**data, **paths, "root": None}}


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _differing(parts: Iterable[str], one: Any, other: Any) -> list[str]:
    return [key for part in parts for key in _differences(part, value_at(one, part), value_at(other, part))]


def _differences(prefix: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other}, key=str)
        return [name for key in keys for name in _differences(f"{prefix}.{key}", one.get(key), other.get(key))]
    return [] if one == other else [prefix]
