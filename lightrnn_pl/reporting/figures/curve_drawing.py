"""Curves of groups of runs, with the same colors in all figures of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightrnn_pl.plotting.hover import add_titles
from lightrnn_pl.plotting.style import SERIES, series_color
from lightrnn_pl.reporting.run_groups import Group, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def with_colors(shown: Sequence[Group], groups: Sequence[Group]) -> list[tuple[str, Group]]:
    """The color of each shown group; it is the same in all figures if ``groups`` does not exceed the palette."""
    numbered = groups if len(groups) <= len(SERIES) else shown
    return [(series_color(numbered.index(group)), group) for group in shown]


def draw_curve(
    axes: Axes,
    x: Sequence[float],
    spreads: Sequence[Spread | None],
    color: str,
    label: str,
    quantities: Sequence[str],
    number: str = "{:,.2f}",
    marker: str = "o",
    line: str = "-",
) -> None:
    """Draw means, joined by a line, with error bars; points without a value are omitted.

    Args:
        axes: The axes to draw on.
        x: The positions of the points.
        spreads: The values of the points.
        color: The color.
        label: The name in the legend, and in the text that is shown on hover.
        quantities: For each point, what its value is, for the text that is shown on hover.
        number: Formats the values in that text.
        marker: The marker of the points.
        line: The style of the line.
    """
    points = [
        (position, spread, quantity)
        for position, spread, quantity in zip(x, spreads, quantities, strict=True)
        if spread is not None
    ]
    means = [spread.mean for _, spread, _ in points]
    axes.plot([position for position, _, _ in points], means, line, color=color, marker=marker, label=label)
    for position, spread, quantity in points:
        text = f"{label}\n{quantity} {number.format(spread.mean)}"
        if spread.deviation:
            axes.errorbar(position, spread.mean, spread.deviation, color=color, capsize=3, elinewidth=1.2)
            text += f" ± {number.format(spread.deviation)}"
        add_titles(axes, [(position, spread.mean, text)])
