"""Perplexity against parameters: what each size buys, and which models no other beats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightrnn_pl.reporting.figures.curves import colored, draw_curve, hollow
from lightrnn_pl.reporting.figures.slim_points import Point
from lightrnn_pl.reporting.figures.style import FAINT, SERIES, drawn, legend_below
from lightrnn_pl.reporting.run_groups import Group, Spread

_NAMED = 12
"""So many groups have names of their own; where a colour comes again, its mark is another."""

_MARKERS = "oDv^"


def draw_frontier(groups: Sequence[Group], path: Path) -> bool:
    """Every group by size and perplexity, one line per corpus; False if all groups of a corpus have the same size."""
    corpora: dict[str, list[tuple[Group, float, Spread]]] = {}
    for group in groups:
        spread, parameters = Point.measured(group), group.runs[0].metrics.get("parameters")
        if spread is not None and parameters:
            corpora.setdefault(corpus_of(group), []).append((group, float(parameters), spread))
    if not any(len({parameters for _, parameters, _ in found}) > 1 for found in corpora.values()):
        return False
    lines = [frontier((parameters, spread.mean) for _, parameters, spread in found) for found in corpora.values()]
    every = sorted((one for found in corpora.values() for one in found), key=lambda one: groups.index(one[0]))
    best = {point for line in lines for point in line}
    # Where there are more, those on the line have.
    named = [one for one in every if len(every) <= _NAMED or (one[1], one[2].mean) in best]
    with drawn(path, height=4.4 + 0.2 * math.ceil(len(named) / 2)) as figure:
        axes = figure.add_subplot()
        for line in lines:
            axes.step(*zip(*line, strict=True), where="post", color=FAINT, linewidth=1.1, zorder=1)
        others = [
            (parameters, spread.mean) for group, parameters, spread in every if (group, parameters, spread) not in named
        ]
        if others:
            axes.plot(*zip(*others, strict=True), "o", color=FAINT, alpha=0.55, label=f"{len(others)} others")
        colors = [color for color, _ in colored([group for group, _, _ in named], groups)]
        for number, (group, parameters, spread) in enumerate(named):
            marker = _MARKERS[number // len(SERIES) % len(_MARKERS)]
            draw_curve(axes, [parameters], [spread], colors[number], group.label, marker)
            row = group.paper
            if row is not None and not group.small and row.perplexity and row.parameters:
                axes.plot(row.parameters, row.perplexity, **hollow(colors[number], "s"))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: _short(value))
        low, high = axes.get_xlim()
        told = "25" if high > 4 * low else "123456789"
        axes.xaxis.set_minor_formatter(lambda value, _: _short(value) if f"{value:e}"[0] in told else "")
        axes.set(xlabel="parameters", ylabel="test perplexity")
        legend_below(figure, axes)
    return True


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (size, perplexity) that no other beats or equals in both, by size."""
    best: list[tuple[float, float]] = []
    for size, perplexity in sorted(points):
        if not best or perplexity < best[-1][1]:
            best.append((size, perplexity))
    return best


def corpus_of(group: Group) -> str:
    """What a group was trained on: perplexities of other texts and vocabularies are not comparable."""
    run = group.runs[0]
    return f"{run.corpus} {run.metrics.get('vocabulary')} {run.metrics.get('tokens')}"


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"
