"""Checks the types of all configured values, before anything is built.

An argument of a class is checked against the annotation of its constructor.  The classes themselves check the ranges.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.argument_types import argument_types, check_type, takes_options
from lightrnn_pl.building import is_in_packages, object_at
from lightrnn_pl.checks import check_count, check_number, check_seed

TYPES: dict[str, Any] = {
    "name": str,
    "seed": int,
    "init_from": str | None,
    "init_from_new_words": int | None,
    "teacher": str | None,
    "teacher_weight": float,
    "loss_reduction": Literal["window", "word"],
    "resume": bool,
    "paths.run_dir": str,
    "paths.cache_dir": str,
    "sweep.fail_fast": bool,
    "model.components": int,
    "model.sides": list[int] | None,
    "model.row_sizes": list[int] | Literal["auto"] | None,
    "model.input_dropout": float,
    "model.output_dropout": float,
    "model.word_dropout": float,
    "model.init_scale": float,
    "model.tied": bool,
}
"""The keys that are not arguments of a class of the configuration."""

_CHECKED_PACKAGES = ("lightrnn_pl", "pytorch_lightning", "torch.optim")
"""The annotations of other packages may be less strict than what they accept."""

_CHECKED_LATER = ("trainer.precision",)
"""``auto`` is not a value of Lightning."""

_REFERENCE = re.compile(r"\$\{(?:oc\.select:\"?)?([A-Za-z_][\w.]*)[^{}]*\}")


def check_values(config: DictConfig) -> None:
    """Check the types of all values.

    Raises:
        ValueError: Naming the key and its value.
    """
    raw: Any = OmegaConf.to_container(config, resolve=False)
    for key, kind in TYPES.items():
        if (value := OmegaConf.select(config, key, default=...)) is not ...:
            _check(raw, key, value, kind)
    check_seed("seed", config.seed)
    _check_trainer(config.trainer)
    for key, node in _parts(config, raw):
        for name, kind in _types(object_at(node["_target_"])).items():
            if name in node and f"{key}.{name}" not in _CHECKED_LATER:
                value = node[name]  # resolves a reference, which takes most of the time
                if not isinstance(value, Mapping):
                    _check(raw, f"{key}.{name}", value, kind)


def _check_trainer(trainer: DictConfig) -> None:
    """Check the ranges that Lightning checks during training or not at all."""
    positive = dict.fromkeys(("accumulate_grad_batches", "check_val_every_n_epoch", "num_nodes"), 1)
    for key, at_least in {**positive, "log_every_n_steps": 0, "min_epochs": 0}.items():
        if (value := trainer.get(key)) is not None:
            check_count(f"trainer.{key}", value, at_least)
    for key in ("max_epochs", "max_steps"):
        if (value := trainer.get(key)) not in (None, -1):  # -1: no limit
            check_count(f"trainer.{key}", value)
    if (value := trainer.get("gradient_clip_val")) is not None:
        check_number("trainer.gradient_clip_val", value, at_least=0)
    for key in ("limit_train_batches", "val_check_interval"):  # a share, or a number of batches
        value = trainer.get(key)
        if isinstance(value, int | float) and not 0 < value < 2**31:
            raise ValueError(f"trainer.{key} must be a share above 0 or a number of batches, got {value}")


@functools.cache
def _types(target: Any) -> dict[str, Any]:
    """The annotations of all arguments, including those that are passed to a base class, or by a class method."""
    options = [target] if not isinstance(target, type) else [cls for cls in target.__mro__ if "__init__" in vars(cls)]
    if inspect.ismethod(target):
        options.append(target.__self__)
    types: dict[str, Any] = {}
    for part in options:
        types = {**argument_types(part), **types}
        if not takes_options(part):
            break
    return types


def _check(raw: Any, key: str, value: Any, kind: Any) -> None:
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    check_type(_origin(raw, key), value, kind)


def _origin(raw: Any, key: str) -> str:
    """The key that a user sets to change ``key``, which may be a reference to it."""
    while True:
        node = raw
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        match = _REFERENCE.fullmatch(node) if isinstance(node, str) else None
        if match is None:
            return key
        key = match[1]


def _parts(config: DictConfig, raw: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """The nodes that describe an object of ``_CHECKED_PACKAGES``, with their keys."""
    for name, value in raw.items():
        if isinstance(value, dict):
            key = f"{prefix}{name}"
            if is_in_packages(str(value.get("_target_")), _CHECKED_PACKAGES):
                yield key, OmegaConf.select(config, key)
            yield from _parts(config, value, f"{key}.")
