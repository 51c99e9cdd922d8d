"""Perplexity by compression ratio and by K (Slim Embedding, Figures 2 to 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightrnn_pl.plotting.hover import add_titles
from lightrnn_pl.plotting.style import hollow, legend_below, new_figure, series_color
from lightrnn_pl.reporting.figures.curve_drawing import draw_curve
from lightrnn_pl.reporting.figures.slim_points import Over, slim_curves
from lightrnn_pl.reporting.run_groups import Group


def draw_compression(groups: Sequence[Group], path: Path, over: Over) -> bool:
    """Draw curves of runs that differ only in ``over``, and the models without sharing; False if there are none."""
    curves, baselines = slim_curves(groups, over)
    if not curves:
        return False
    with new_figure(path) as figure:
        axes = figure.add_subplot()
        for number, (label, points) in enumerate(curves.items()):
            color = series_color(number)
            spreads = [point.perplexity for point in points]
            quantities = [_quantity(point.x, over) for point in points]
            draw_curve(axes, [point.x for point in points], spreads, color, label, quantities)
            paper_points = [(point.x, point.paper) for point in points if point.paper is not None]
            if paper_points:
                name = "values from the paper" if number == 0 else None
                axes.plot(*zip(*paper_points, strict=True), **hollow(color, "s"), label=name)
                texts = [f"{label}\n{_quantity(x, over)} {paper:,.2f} in the paper" for x, paper in paper_points]
                add_titles(axes, [(*point, text) for point, text in zip(paper_points, texts, strict=True)])
        for number, (label, perplexity) in enumerate(baselines.items()):
            color = series_color(len(curves) + number)
            axes.axhline(perplexity.mean, color=color, linestyle="--", linewidth=1.2, label=label)
        ticks = sorted({point.x for points in curves.values() for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [_tick_label(x, over) for x in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:,.10g}")
        axes.set(
            xlabel="size relative to full vectors" if over == "ratio" else "sub-vectors per word, K",
            ylabel="test perplexity",
        )
        legend_below(figure, axes)
    return True


def _quantity(x: float, over: Over) -> str:
    return f"{'size' if over == 'ratio' else 'K ='} {_tick_label(x, over)}: perplexity"


def _tick_label(x: float, over: Over) -> str:
    return f"1/{x:.3g}" if over == "ratio" and x > 1 else f"{x:.3g}"
