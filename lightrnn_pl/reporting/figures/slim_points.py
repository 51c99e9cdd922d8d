"""Which runs are points of a curve over the compression ratio or over K (Slim Embedding, Figures 2 to 5).

Points of one curve differ in nothing of the model but that; other ways to make a model as many times smaller (SM, PM)
are identified by the row of the paper that they name.
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

from lightrnn_pl.reporting.run_groups import Group, Spread, labels_of

Over = Literal["ratio", "parts"]

_ROW = {
    "ratio": re.compile(r"(?P<curve>.+) 1/(?P<x>[\d.]+)"),
    "parts": re.compile(r"(?P<curve>SE) K=(?P<x>\d+)(?P<rest>.*)"),
}
_VARYING = {"ratio": ("compression", "num_subvectors"), "parts": ("num_parts", "num_subvectors")}
_NAMES = ("paper", "name", "seed", "paths", "logger", "callbacks", "resume", "resume_point", "hydra")


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        x: Reciprocal of the ratio, or K.
        perplexity: Of the test text, or of the validation text where there is no other.
        paper: What the paper gives for it, where the run is meant to reproduce it.
    """

    x: float
    perplexity: Spread
    paper: float | None

    @staticmethod
    def measured(group: Group) -> Spread | None:
        """A group's perplexity."""
        return group.spread(lambda metrics: _perplexity(metrics, "test")) or group.spread(
            lambda metrics: _perplexity(metrics, "validation")
        )


def slim_curves(groups: Sequence[Group], over: Over) -> tuple[dict[str, list[Point]], dict[str, Spread]]:
    """Curves of two points at least, by their names, and the models without sharing to compare them with.

    Args:
        groups: Of one report.
        over: What the curves are over.
    """
    found: dict[str, list[tuple[float, Group]]] = {}
    for group in groups:
        if Point.measured(group) is not None and (placed := _place(group, over)) is not None:
            curve, x = placed
            found.setdefault(curve, []).append((x, group))
    found = {curve: members for curve, members in found.items() if len({x for x, _ in members}) > 1}
    names = _names([members[0][1] for members in found.values()], over)
    curves = {}
    for name, members in zip(names, found.values(), strict=True):
        points = [Point(x, spread, _papers(group)) for x, group in members if (spread := Point.measured(group))]
        curves[name] = sorted(points, key=lambda point: point.x)
    texts = {_text(group) for members in found.values() for _, group in members}
    baselines = {
        group.label: spread
        for group in groups
        if _text(group) in texts and _is_unshared(group.config) and (spread := Point.measured(group)) is not None
    }
    return curves, baselines


def _place(group: Group, over: Over) -> tuple[str, float] | None:
    """The curve that a group is a point of, and where on it."""
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
        if isinstance(model.get(name), dict) and "Slim" in str(model[name].get("_target_"))
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
    """The classes of ``conf/model/full.yaml``, which shares no vectors."""
    folder = resources.files("lightrnn_pl.conf") / "model"
    parts = {name: folder / name / "full.yaml" for name in ("embedding", "output")}
    found = {name: OmegaConf.create(file.read_text(encoding="utf-8")) for name, file in parts.items()}
    return {name: OmegaConf.select(config, "_target_") for name, config in found.items()}


def _names(groups: Sequence[Group], over: Over) -> list[str]:
    """What distinguishes the curves: the paper's letters, what is shared, and what else differs."""
    letters = []
    for group in groups:
        parts = _slim_parts(group.config.get("model") or {})
        row = _ROW[over].fullmatch(group.paper.row) if group.paper is not None else None
        shared = " and ".join({"embedding": "input", "output": "output"}[name] for name in parts)
        hashed = any("Hashed" in str((part.get("map") or {}).get("_target_")) for part in parts.values())
        letters.append(f"{shared} shared{' by a hash' if hashed else ''}" if parts else row["curve"] if row else "")
    runs = [
        replace(
            group.runs[0],
            name=name,
            config=_without({key: value for key, value in group.config.items() if key not in _NAMES}, _VARYING[over]),
        )
        for group, name in zip(groups, letters, strict=True)
    ]
    return labels_of(runs)


def _without(node: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The same configuration without these keys, however deep."""
    return {
        key: _without(value, keys) if isinstance(value, dict) else value
        for key, value in node.items()
        if key not in keys
    }


def _papers(group: Group) -> float | None:
    return group.paper.perplexity if group.paper is not None and not group.small else None


def _text(group: Group) -> str:
    metrics = group.runs[0].metrics
    return json.dumps([metrics.get("vocabulary"), metrics.get("tokens")])


def _perplexity(metrics: Mapping[str, Any], split: str) -> float | None:
    return (metrics.get(split) or {}).get("perplexity")
