"""Group names and tags of runs, independent of any dashboard.

A group contains the runs of one configuration with different seeds; tags name the model, the corpus and the paper.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.resume_check import DEFINES_A_RUN, value_at

_DEFINES = (*DEFINES_A_RUN, "trainer.max_epochs", "trainer.max_steps")
_IGNORED_KEYS = ("seed", "root", "cache", "cache_dir")
"""Keys that are ignored everywhere in the configuration: seeds and the paths of a machine."""

_MAX_TAG_LENGTH = 64
"""W&B's limit, in characters."""


def group_name(config: Mapping[str, Any]) -> str:
    """A readable name of the configuration: the paper's row or the run's name, the sizes, and a fingerprint.

    Two runs have the same name if and only if their configurations differ in seeds and paths only.
    """
    model, paper = config.get("model") or {}, config.get("paper") or {}
    parts = [str(config.get("name"))]
    if paper.get("table"):
        corpus = (config.get("data") or {}).get("name")
        parts = [str(part) for part in (paper["table"], paper.get("row"), corpus, paper.get("scale")) if part]
    if model.get("num_layers") and model.get("hidden_dim"):
        parts.append(f"{model['num_layers']}x{model['hidden_dim']}")
    parts.append(_fingerprint(config))
    return " ".join(parts)


def tags(config: Mapping[str, Any], choices: Mapping[str, Any]) -> list[str]:
    """The names of the model (the paper's, if the run is a row of a paper), the corpus and the paper's table.

    Unknown names are omitted.

    Args:
        config: The resolved configuration.
        choices: The option chosen in each group; see :func:`hydra_choices`.
    """
    data, paper = config.get("data") or {}, config.get("paper") or {}
    names = (paper.get("model") or choices.get("model"), data.get("name"), paper.get("table"))
    return list(dict.fromkeys(str(name)[:_MAX_TAG_LENGTH] for name in names if name))


def hydra_choices(folder: str | Path) -> dict[str, Any]:
    """The option that the run in ``folder`` has chosen in each group; empty if it was started without Hydra."""
    return RunFolder(folder).command().get("choices", {})


def _fingerprint(config: Mapping[str, Any]) -> str:
    content = _without(_IGNORED_KEYS, {dotted: value_at(config, dotted) for dotted in _DEFINES})
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:6]


def _without(keys: tuple[str, ...], node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without(keys, value) for key, value in node.items() if key not in keys}
    return [_without(keys, value) for value in node] if isinstance(node, list) else node
