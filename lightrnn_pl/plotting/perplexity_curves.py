"""Validation perplexity over training (LightRNN, Figure 4)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightrnn_pl.number_text import epochs_text, perplexity_text
from lightrnn_pl.plotting.hover import add_titles
from lightrnn_pl.plotting.style import INK, hollow, legend_below, line_style, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_RATIO = 3.0
"""Perplexities of the first epochs that exceed a curve's best by more than this factor are cut off."""


@dataclass(frozen=True)
class PerplexityCurve:
    """The curve of a run.

    Attributes:
        name: The name of the run.
        history: The validations, as ``history`` in ``metrics.json``; those without a finite perplexity are omitted.
        color: The color.
        number: Determines whether the line is solid, dashed or dotted.
        label: The label in the legend; None if the legend does not contain the curve.
    """

    name: str
    history: Sequence[Mapping[str, Any]]
    color: str
    number: int = 0
    label: str | None = None


def draw_perplexity(
    figure: Figure, curves: Sequence[PerplexityCurve], line_labels: Mapping[int, str] | None = None
) -> None:
    """Draw validation perplexity by epoch, one line per curve; hollow markers indicate the ends of rounds.

    Args:
        figure: The figure to draw on.
        curves: The curves.
        line_labels: What the line of curves with a ``number`` means, for the legend.
    """
    from matplotlib.ticker import MaxNLocator, NullLocator

    axes = figure.add_subplot()
    lowest, highest = math.inf, 0.0  # shown values
    has_rounds = False
    for curve in curves:
        validations = [entry for entry in curve.history if entry.get("valid_perplexity") is not None]
        if not validations:
            continue
        epochs = [entry["epoch"] for entry in validations]
        values = [entry["valid_perplexity"] for entry in validations]
        lowest, highest = min(lowest, *values), max(highest, min(max(values), _MAX_RATIO * min(values)))
        axes.plot(
            *(epochs, values, line_style(curve.number)),
            marker=".",
            color=curve.color,
            label=curve.label,
        )
        add_titles(axes, zip(epochs, values, [_title(curve.name, entry) for entry in validations], strict=True))
        ends = [before for before, after in itertools.pairwise(validations) if before["round"] != after["round"]]
        has_rounds |= bool(ends)
        positions = [(entry["epoch"], entry["valid_perplexity"]) for entry in ends]
        axes.plot(*([position[axis] for position in positions] for axis in (0, 1)), **hollow(curve.color))
    for number, label in (line_labels or {}).items():
        axes.plot([], [], line_style(number), color=INK, label=label)
    if has_rounds:
        axes.plot([], [], **hollow(INK), label="end of a round")
    axes.set(xlabel="epochs", ylabel="validation perplexity")
    whole_numbers(axes)
    if highest:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter("{x:,.6g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(lowest / 1.04, 1.04 * highest)
    legend_below(figure, axes)


def _title(name: str, entry: Mapping[str, Any]) -> str:
    number = f", round {entry['round']}" if entry.get("round") is not None else ""
    return (
        f"{name}\nepoch {epochs_text(entry['epoch'])}{number}: perplexity {perplexity_text(entry['valid_perplexity'])}"
    )
