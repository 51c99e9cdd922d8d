"""Perplexity over epochs and rounds (LightRNN, Figure 4)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightrnn_pl.reporting.figures.curves import colored, draw_curve, hollow, whole_numbers
from lightrnn_pl.reporting.figures.style import drawn, legend_below, line_of
from lightrnn_pl.reporting.run_groups import Group

_FAR = 3.0
"""The first epochs are far above the rest and would flatten it: up to this many times a curve's best is shown."""


def draw_epochs(groups: Sequence[Group], path: Path) -> bool:
    """Validation after each epoch, one line per run; False if nothing was validated."""
    shown = [group for group in groups if any(_history(run.metrics) for run in group.runs)]
    if not shown:
        return False
    from matplotlib.ticker import MaxNLocator, NullLocator

    best, worst = math.inf, 0.0  # of what is shown
    with drawn(path, height=4.2 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        axes = figure.add_subplot()
        for number, (color, group) in enumerate(colored(shown, groups)):
            dashes = line_of(number)
            for seed, run in enumerate(group.runs):
                history = _history(run.metrics)
                label = group.label if seed == 0 else None
                epochs = [line["epoch"] for line in history]
                curve = [line["valid_perplexity"] for line in history]
                best, worst = min(best, *curve), max(worst, min(max(curve), _FAR * min(curve)))
                alpha = 1.0 if len(group.runs) == 1 else 0.65
                axes.plot(epochs, curve, dashes, marker=".", color=color, label=label, alpha=alpha)
                ends = [before for before, after in itertools.pairwise(history) if before["round"] != after["round"]]
                axes.plot(
                    [line["epoch"] for line in ends],
                    [line["valid_perplexity"] for line in ends],
                    **hollow(color),
                )
        axes.set(xlabel="epochs", ylabel="validation perplexity")
        whole_numbers(axes)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(best / 1.04, 1.04 * worst)
        legend_below(figure, axes)
    return True


def draw_rounds(groups: Sequence[Group], path: Path) -> bool:
    """The best of each round, one line per group; False if no run has a second round."""
    shown = [group for group in groups if max(len(run.metrics.get("rounds") or ()) for run in group.runs) > 1]
    if not shown:
        return False
    with drawn(path, height=3.8 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        axes = figure.add_subplot()
        for number, (color, group) in enumerate(colored(shown, groups)):
            last = max(len(run.metrics["rounds"]) for run in group.runs)
            spreads = [group.spread(partial(_of_round, place=place)) for place in range(last)]
            draw_curve(axes, [r + 1 for r in range(last)], spreads, color, group.label, line=line_of(number))
        axes.set(xlabel="round", ylabel="validation perplexity, best of the round")
        whole_numbers(axes)
        legend_below(figure, axes)
    return True


def _history(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [line for line in metrics.get("history") or () if line.get("valid_perplexity") is not None]


def _of_round(metrics: Mapping[str, Any], place: int) -> float | None:
    rounds = metrics.get("rounds") or ()
    return rounds[place].get("valid_perplexity") if place < len(rounds) else None
