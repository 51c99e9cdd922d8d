"""Perplexity by epoch and by round (LightRNN, Figure 4)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightrnn_pl.reporting.figures.curve_drawing import draw_curve, hollow, whole_numbers, with_colors
from lightrnn_pl.reporting.figures.style import legend_below, line_style, new_figure
from lightrnn_pl.reporting.run_groups import Group

_MAX_RATIO = 3.0
"""Perplexities of the first epochs that exceed a curve's best by more than this factor are cut off."""


def draw_epochs(groups: Sequence[Group], path: Path) -> bool:
    """Draw validation perplexity by epoch, one line per run; False if nothing was validated."""
    shown = [group for group in groups if any(_history(run.metrics) for run in group.runs)]
    if not shown:
        return False
    from matplotlib.ticker import MaxNLocator, NullLocator

    lowest, highest = math.inf, 0.0  # shown values
    with new_figure(path, height=4.2 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        axes = figure.add_subplot()
        for number, (color, group) in enumerate(with_colors(shown, groups)):
            style = line_style(number)
            for seed, run in enumerate(group.runs):
                history = _history(run.metrics)
                label = group.label if seed == 0 else None
                epochs = [entry["epoch"] for entry in history]
                curve = [entry["valid_perplexity"] for entry in history]
                lowest, highest = min(lowest, *curve), max(highest, min(max(curve), _MAX_RATIO * min(curve)))
                alpha = 1.0 if len(group.runs) == 1 else 0.65
                axes.plot(epochs, curve, style, marker=".", color=color, label=label, alpha=alpha)
                ends = [before for before, after in itertools.pairwise(history) if before["round"] != after["round"]]
                axes.plot(
                    [entry["epoch"] for entry in ends],
                    [entry["valid_perplexity"] for entry in ends],
                    **hollow(color),
                )
        axes.set(xlabel="epochs", ylabel="validation perplexity")
        whole_numbers(axes)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(lowest / 1.04, 1.04 * highest)
        legend_below(figure, axes)
    return True


def draw_rounds(groups: Sequence[Group], path: Path) -> bool:
    """Draw the best validation perplexity of each round, one line per group; False if no run has a second round."""
    shown = [group for group in groups if max(len(run.metrics.get("rounds") or ()) for run in group.runs) > 1]
    if not shown:
        return False
    with new_figure(path, height=3.8 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        axes = figure.add_subplot()
        for number, (color, group) in enumerate(with_colors(shown, groups)):
            last = max(len(run.metrics["rounds"]) for run in group.runs)
            spreads = [group.spread(partial(_of_round, index=index)) for index in range(last)]
            draw_curve(axes, list(range(1, last + 1)), spreads, color, group.label, line=line_style(number))
        axes.set(xlabel="round", ylabel="best validation perplexity of the round")
        whole_numbers(axes)
        legend_below(figure, axes)
    return True


def _history(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in metrics.get("history") or () if entry.get("valid_perplexity") is not None]


def _of_round(metrics: Mapping[str, Any], index: int) -> float | None:
    rounds = metrics.get("rounds") or ()
    return rounds[index].get("valid_perplexity") if index < len(rounds) else None
