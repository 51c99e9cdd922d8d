"""Perplexity over the compression ratio and over K (Slim Embedding, Figures 2 to 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lightrnn_pl.reporting.figures.curves import draw_curve, hollow
from lightrnn_pl.reporting.figures.slim_points import Over, slim_curves
from lightrnn_pl.reporting.figures.style import color_of, drawn, legend_below
from lightrnn_pl.reporting.run_groups import Group


def draw_compression(groups: Sequence[Group], path: Path, over: Over) -> bool:
    """Curves of runs that differ in nothing else, with the models without sharing; False where there are none."""
    curves, baselines = slim_curves(groups, over)
    if not curves:
        return False
    with drawn(path, height=3.8 + 0.2 * math.ceil((len(curves) + len(baselines)) / 2)) as figure:
        axes = figure.add_subplot()
        for number, (label, points) in enumerate(curves.items()):
            color = color_of(number)
            draw_curve(axes, [point.x for point in points], [point.perplexity for point in points], color, label)
            known = [(point.x, point.paper) for point in points if point.paper is not None]
            if known:
                name = "the paper's figures" if number == 0 else None
                axes.plot(*zip(*known, strict=True), **hollow(color, "s"), label=name)
        for number, (label, perplexity) in enumerate(baselines.items()):
            color = color_of(len(curves) + number)
            axes.axhline(perplexity.mean, color=color, linestyle="--", linewidth=1.2, label=label)
        places = sorted({point.x for points in curves.values() for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [_place(place, over) for place in places])
        axes.minorticks_off()
        axes.set(
            xlabel="size beside that of full vectors" if over == "ratio" else "sub-vectors per word, K",
            ylabel="test perplexity",
        )
        legend_below(figure, axes)
    return True


def _place(place: float, over: Over) -> str:
    return f"1/{place:.3g}" if over == "ratio" and place > 1 else f"{place:.3g}"
