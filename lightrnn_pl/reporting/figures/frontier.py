"""Perplexity by number of parameters, with the Pareto frontier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lightrnn_pl.plotting.hover import add_titles
from lightrnn_pl.plotting.style import FAINT, SERIES, hollow, legend_below, new_figure
from lightrnn_pl.reporting.figures.curve_drawing import draw_curve, with_colors
from lightrnn_pl.reporting.figures.slim_points import Point
from lightrnn_pl.reporting.run_groups import Group, Spread

_MAX_NAMED = 12
"""If there are more groups, only those on the frontier are named."""

_MARKERS = "oDv^"


def draw_frontier(groups: Sequence[Group], path: Path) -> bool:
    """Draw each group by size and perplexity, one frontier per corpus; False if no corpus has models of two sizes."""
    corpora: dict[str, list[tuple[Group, float, Spread]]] = {}
    for group in groups:
        spread, parameters = Point.measured(group), group.runs[0].metrics.get("parameters")
        if spread is not None and parameters:
            corpora.setdefault(corpus_of(group), []).append((group, float(parameters), spread))
    if not any(len({parameters for _, parameters, _ in models}) > 1 for models in corpora.values()):
        return False
    lines = [frontier((parameters, spread.mean) for _, parameters, spread in models) for models in corpora.values()]
    all_models = sorted((model for models in corpora.values() for model in models), key=lambda m: groups.index(m[0]))
    best = {point for line in lines for point in line}
    named = [model for model in all_models if len(all_models) <= _MAX_NAMED or (model[1], model[2].mean) in best]
    with new_figure(path) as figure:
        axes = figure.add_subplot()
        for line in lines:
            axes.step(*zip(*line, strict=True), where="post", color=FAINT, linewidth=1.1, zorder=1)
        others = [model for model in all_models if model not in named]
        if others:
            points = [(parameters, spread.mean) for _, parameters, spread in others]
            axes.plot(*zip(*points, strict=True), "o", color=FAINT, alpha=0.55, label=f"{len(others)} others")
            names = [
                f"{group.label}\n{_quantity(parameters)} {spread.mean:,.2f}" for group, parameters, spread in others
            ]
            add_titles(axes, [(*point, name) for point, name in zip(points, names, strict=True)])
        colors = [color for color, _ in with_colors([group for group, _, _ in named], groups)]
        for number, (group, parameters, spread) in enumerate(named):
            marker = _MARKERS[number // len(SERIES) % len(_MARKERS)]
            quantity = _quantity(parameters)
            draw_curve(axes, [parameters], [spread], colors[number], group.label, [quantity], marker=marker)
            row = group.paper
            if row is not None and not group.small and row.perplexity and row.parameters:
                axes.plot(row.parameters, row.perplexity, **hollow(colors[number], "s"))
                text = f"{group.label}\n{_quantity(row.parameters)} {row.perplexity:,.2f} in the paper"
                add_titles(axes, [(row.parameters, row.perplexity, text)])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: _short(value))
        low, high = axes.get_xlim()
        labeled = "25" if high > 4 * low else "123456789"  # first digits of labeled minor ticks
        axes.xaxis.set_minor_formatter(lambda value, _: _short(value) if f"{value:e}"[0] in labeled else "")
        axes.yaxis.set_major_formatter("{x:,.10g}")
        axes.set(xlabel="parameters", ylabel="test perplexity")
        legend_below(figure, axes)
    return True


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The Pareto frontier of points (size, perplexity), in order of size."""
    best: list[tuple[float, float]] = []
    for size, perplexity in sorted(points):
        if not best or perplexity < best[-1][1]:
            best.append((size, perplexity))
    return best


def corpus_of(group: Group) -> str:
    """The corpus and the vocabulary size of a group; perplexities of different ones are not comparable."""
    run = group.runs[0]
    return f"{run.corpus} {run.metrics.get('vocabulary')} {run.metrics.get('tokens')}"


def _quantity(parameters: float) -> str:
    return f"{parameters:,.0f} parameters: perplexity"


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"
