"""What a dashboard sorts runs by: a group holds the seeds of one configuration, tags name model, corpus and paper.

Knows resolved configurations as plain dictionaries, and no dashboard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightrnn_pl.training.resume_check import DEFINES_A_RUN, value_at

_DEFINES = (*DEFINES_A_RUN, "trainer.max_epochs", "trainer.max_steps")
_LEFT_OUT = ("seed", "root", "cache", "cache_dir")
"""Seeds, and where a machine keeps its text; keys of these names anywhere in the configuration."""

_LONGEST_TAG = 64
"""Characters, by W&B's rule."""


def group_name(config: Mapping[str, Any]) -> str:
    """A readable name of the configuration without its seeds: the paper's row or the run's name, sizes, a fingerprint.

    Two runs have the same one exactly when they differ in seeds and places only.
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
    """Model, corpus and table of a paper, as far as they are known, each once.

    Args:
        config: The resolved configuration.
        choices: Option chosen in each group; see :func:`hydra_choices`.
    """
    data, paper = config.get("data") or {}, config.get("paper") or {}
    known = (choices.get("model"), data.get("name"), paper.get("table"))
    return list(dict.fromkeys(str(tag)[:_LONGEST_TAG] for tag in known if tag))


def hydra_choices(folder: str | Path) -> dict[str, Any]:
    """The option chosen in each group of the run in ``folder``, as Hydra keeps them; none where a run had no Hydra."""
    path = Path(folder) / ".hydra" / "hydra.yaml"
    if not path.is_file():
        return {}
    return dict(OmegaConf.select(OmegaConf.load(path), "hydra.runtime.choices") or {})


def _fingerprint(config: Mapping[str, Any]) -> str:
    kept = _without(_LEFT_OUT, {dotted: value_at(config, dotted) for dotted in _DEFINES})
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:6]


def _without(keys: tuple[str, ...], node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without(keys, value) for key, value in node.items() if key not in keys}
    return [_without(keys, value) for value in node] if isinstance(node, list) else node
