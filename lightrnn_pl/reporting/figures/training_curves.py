"""Perplexity by epoch and by round (LightRNN, Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightrnn_pl.plotting.perplexity_curves import PerplexityCurve, draw_perplexity
from lightrnn_pl.plotting.style import SERIES, legend_below, line_style, new_figure, whole_numbers
from lightrnn_pl.reporting.figures.curve_drawing import draw_curve, with_colors
from lightrnn_pl.reporting.run_groups import Group


def draw_epochs(groups: Sequence[Group], path: Path) -> bool:
    """Draw validation perplexity by epoch, one line per run; False if nothing was validated.

    Groups differ in color.  The line style shows the seed or, if there are more groups than colors, the group.
    """
    shown = [group for group in groups if any(_is_validated(run.metrics) for run in group.runs)]
    if not shown:
        return False
    seeds = sorted({run.seed or 0 for group in shown for run in group.runs})
    by_seed = any(len(group.runs) > 1 for group in shown) and len(groups) <= len(SERIES)
    styles = {seed: number * len(SERIES) for number, seed in enumerate(seeds)} if by_seed else {}
    curves = [
        PerplexityCurve(
            group.label if len(group.runs) == 1 else f"{group.label}, seed {run.seed}",
            run.metrics.get("history") or (),
            color,
            styles.get(run.seed or 0, number),
            label=group.label if run is group.runs[0] else None,
        )
        for number, (color, group) in enumerate(with_colors(shown, groups))
        for run in group.runs
    ]
    with new_figure(path) as figure:
        draw_perplexity(figure, curves, {number: f"seed {seed}" for seed, number in styles.items()})
    return True


def draw_rounds(groups: Sequence[Group], path: Path) -> bool:
    """Draw the best validation perplexity of each round, one line per group; False if no run has a second round."""
    shown = [group for group in groups if max(len(run.metrics.get("rounds") or ()) for run in group.runs) > 1]
    if not shown:
        return False
    with new_figure(path) as figure:
        axes = figure.add_subplot()
        for number, (color, group) in enumerate(with_colors(shown, groups)):
            last = max(len(run.metrics["rounds"]) for run in group.runs)
            spreads = [group.spread(partial(_of_round, index=index)) for index in range(last)]
            rounds = list(range(1, last + 1))
            quantities = [f"round {index}: perplexity" for index in rounds]
            draw_curve(axes, rounds, spreads, color, group.label, quantities, line=line_style(number))
        axes.set(xlabel="round", ylabel="best validation perplexity of the round")
        axes.yaxis.set_major_formatter("{x:,.10g}")
        whole_numbers(axes)
        legend_below(figure, axes)
    return True


def _is_validated(metrics: Mapping[str, Any]) -> bool:
    return any(entry.get("valid_perplexity") is not None for entry in metrics.get("history") or ())


def _of_round(metrics: Mapping[str, Any], index: int) -> float | None:
    rounds = metrics.get("rounds") or ()
    return rounds[index].get("valid_perplexity") if index < len(rounds) else None
