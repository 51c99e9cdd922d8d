"""Curves of perplexity by compression ratio or by K (Slim Embedding, Figures 2 to 5).

The models of a curve differ only in the ratio or in K.  Models that are made smaller in other ways (SM, PM) are
identified by the row of the paper in their configuration.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

from omegaconf import OmegaConf

from lightrnn_pl.reporting.run_groups import Group, Spread, distinguishing_labels

Over = Literal["ratio", "parts"]

_ROW = {
    "ratio": re.compile(r"(?P<curve>.+) 1/(?P<x>[\d.]+)"),
    "parts": re.compile(r"(?P<curve>SE) K=(?P<x>\d+)(?P<rest>.*)"),
}
_VARYING = {"ratio": ("compression", "num_subvectors"), "parts": ("num_parts", "num_subvectors")}
_IGNORED_KEYS = ("paper", "name", "seed", "paths", "logger", "callbacks", "resume", "resume_point", "hydra")


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        x: The reciprocal of the ratio, or K.
        perplexity: The test perplexity, or the validation perplexity if there is none.
        paper: The perplexity in the paper, if the runs reproduce it.
    """

    x: float
    perplexity: Spread
    paper: float | None

    @staticmethod
    def measured(group: Group) -> Spread | None:
        """The perplexity of a group; None if none was measured."""
        return group.spread(lambda metrics: _perplexity(metrics, "test")) or group.spread(
            lambda metrics: _perplexity(metrics, "validation")
        )


def slim_curves(groups: Sequence[Group], over: Over) -> tuple[dict[str, list[Point]], dict[str, Spread]]:
    """Curves of at least two points, and the models without sharing on the same text.

    Args:
        groups: The groups of a report.
        over: The horizontal axis of the curves.

    Returns:
        Name of a curve -> its points, and label of a model without sharing -> its perplexity.
    """
    members_by_key: dict[str, list[tuple[float, Group]]] = {}
    for group in groups:
        if Point.measured(group) is not None and (position := _position(group, over)) is not None:
            key, x = position
            members_by_key.setdefault(key, []).append((x, group))
    all_members = [members for members in members_by_key.values() if len({x for x, _ in members}) > 1]
    names = _names([members[0][1] for members in all_members], over)
    curves = {}
    for name, members in zip(names, all_members, strict=True):
        points = [Point(x, spread, _in_paper(group)) for x, group in members if (spread := Point.measured(group))]
        curves[name] = sorted(points, key=lambda point: point.x)
    texts = {_text(group) for members in all_members for _, group in members}
    baselines = {
        group.label: spread
        for group in groups
        if _text(group) in texts and _is_unshared(group.config) and (spread := Point.measured(group)) is not None
    }
    return curves, baselines


def _position(group: Group, over: Over) -> tuple[str, float] | None:
    """A key of the curve to which a group belongs, and its position on it; None if it belongs to none."""
    model = group.config.get("model") or {}
    row = _ROW[over].fullmatch(group.paper.row) if group.paper is not None else None
    if row is not None and not _slim_parts(model):
        return f"{group.paper.table} {row['curve']} {_text(group)}", float(row["x"])  # type: ignore[union-attr]
    values = {_value(part, over, group.runs[0].metrics) for part in _slim_parts(model).values()}
    if len(values) != 1 or None in values:  # input and output differ
        return None
    rest = _without(model, _VARYING[over])
    for part in ("map", "seed"):
        rest.pop(part, None)
    key = json.dumps([rest, group.config.get("optimizer"), group.config.get("schedule"), _text(group)], sort_keys=True)
    return key, float(values.pop())  # type: ignore[arg-type]


def _slim_parts(model: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        name: model[name]
        for name in ("embedding", "output")
        if isinstance(model.get(name), dict) and "num_parts" in model[name]
    }


def _value(part: Mapping[str, Any], over: Over, metrics: Mapping[str, Any]) -> float | None:
    if over == "parts":
        return part.get("num_parts")
    if part.get("compression"):
        return round(1 / part["compression"], 6)
    if part.get("num_subvectors") and metrics.get("vocabulary"):
        return round(part["num_parts"] * metrics["vocabulary"] / part["num_subvectors"], 6)
    return None


def _is_unshared(config: Mapping[str, Any]) -> bool:
    model = config.get("model") or {}
    targets = {name: (model.get(name) or {}).get("_target_") for name in ("embedding", "output")}
    return targets == _full_targets() and not str((config.get("paper") or {}).get("row")).startswith("SM")


@functools.cache
def _full_targets() -> dict[str, Any]:
    """The classes of ``full.yaml``, which shares no vectors, for embedding and output."""
    folder = resources.files("lightrnn_pl.conf") / "model"
    files = {name: folder / name / "full.yaml" for name in ("embedding", "output")}
    configs = {name: OmegaConf.create(file.read_text(encoding="utf-8")) for name, file in files.items()}
    return {name: OmegaConf.select(config, "_target_") for name, config in configs.items()}


def _names(groups: Sequence[Group], over: Over) -> list[str]:
    """The names of the curves: the parts that are shared or the paper's abbreviation, and further differences."""
    base_names = []
    for group in groups:
        parts = _slim_parts(group.config.get("model") or {})
        row = _ROW[over].fullmatch(group.paper.row) if group.paper is not None else None
        shared = " and ".join({"embedding": "input", "output": "output"}[name] for name in parts)
        hashed = any("Hashed" in str((part.get("map") or {}).get("_target_")) for part in parts.values())
        name = f"{shared} shared{' by hashing' if hashed else ''}"
        base_names.append(name if parts else row["curve"] if row else "")
    runs = [
        replace(
            group.runs[0],
            name=name,
            config=_without(
                {key: value for key, value in group.config.items() if key not in _IGNORED_KEYS}, _VARYING[over]
            ),
        )
        for group, name in zip(groups, base_names, strict=True)
    ]
    return distinguishing_labels(runs)


def _without(node: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The same configuration without the given keys, at any depth."""
    return {
        key: _without(value, keys) if isinstance(value, dict) else value
        for key, value in node.items()
        if key not in keys
    }


def _in_paper(group: Group) -> float | None:
    return group.paper.perplexity if group.paper is not None and not group.small else None


def _text(group: Group) -> str:
    metrics = group.runs[0].metrics
    return json.dumps([metrics.get("vocabulary"), metrics.get("tokens")])


def _perplexity(metrics: Mapping[str, Any], split: str) -> float | None:
    return (metrics.get(split) or {}).get("perplexity")
