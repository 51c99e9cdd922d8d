"""Refuses keys of a configuration that have no effect, such as a misspelled key in an experiment.

A key under a ``_target_`` is an argument of that class, whose constructor refuses unknown ones.  Every other key must
be listed here, or be read by another key through an interpolation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

KNOWN_KEYS: dict[str, tuple[str, ...]] = {
    "": (
        *("name", "seed", "init_from", "init_from_new_words", "teacher", "teacher_weight", "loss_reduction"),
        *("regularization", "averaging", "resume", "resume_point"),
        *("sweep", "paths", "paper", "data", "model", "allocation", "reallocation", "bootstrap", "solver", "optimizer"),
        *("schedule", "trainer", "callbacks", "logger", "sizes_only"),
    ),
    "model": (
        *("components", "steps_per_word", "sides", "row_sizes", "embedding_dim", "hidden_dim", "num_layers", "dropout"),
        *("input_dropout", "core_dropout", "output_dropout", "locked_dropout", "word_dropout"),
        *("weight_dropout", "init_scale", "tied"),
        *("embedding", "core", "output", "loss"),
    ),
    "paths": ("run_dir", "cache_dir"),
    "regularization": ("activation", "temporal_activation"),
    "reallocation": (
        *("objective", "max_rounds", "patience", "min_gain", "min_learning_rate", "epochs_per_round"),
        *("min_round_gain", "max_hours", "statistics", "storage", "inputs", "sample_every", "measure"),
        "optimizer_state",
    ),
    "sweep": ("fail_fast",),
}
"""The keys of conf/, by the node that contains them; "" is the whole configuration.

``paper`` is not listed: experiments may store any values there, for interpolations and for the report.
"""

_OPTIONAL = ("paper", "init_from", "init_from_new_words", "sizes_only")
_INTERPOLATION = re.compile(r"\$\{(?:oc\.select:\"?)?([A-Za-z_][\w.]*)")


def check_keys(config: DictConfig) -> None:
    """Check that every key has an effect, and that no group or required value is missing.

    Raises:
        ValueError: Naming the key.
    """
    missing = [key for key in KNOWN_KEYS[""] if key not in config and key not in _OPTIONAL]
    if missing:
        raise ValueError(f"{missing[0]} is missing from the configuration; select or set it")
    plain: Any = OmegaConf.to_container(config, resolve=False)
    if unset := [key for key, value in _leaves(plain) if value == "???"]:
        raise ValueError(f"{unset[0]} is required; pass {unset[0]}=...")
    references = {reference for value in _strings(plain) for reference in _INTERPOLATION.findall(value)}
    for node, known in KNOWN_KEYS.items():
        prefix = f"{node}." if node else ""
        for key in plain[node] if node else plain:
            if key not in known and not any(_covers(name, prefix + key) for name in references):
                valid = ", ".join(prefix + name for name in known)
                raise ValueError(f"{prefix}{key} is not a valid key, and no other key refers to it; use {valid}")
    for node in ("callbacks", "logger"):
        for name, value in plain[node].items():
            if value is not None and not (isinstance(value, dict) and "_target_" in value):
                raise ValueError(f"{node}.{name}={value} must have a _target_, or be null to remove it")


def _covers(reference: str, key: str) -> bool:
    """Whether an interpolation reads ``key``, a part of it, or a node that contains it."""
    return reference == key or reference.startswith(key + ".") or key.startswith(reference.rstrip(".") + ".")


def _leaves(plain: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of all values that are not mappings."""
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _strings(plain: Any) -> Iterator[str]:
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, dict | list):
        for value in plain.values() if isinstance(plain, dict) else plain:
            yield from _strings(value)
