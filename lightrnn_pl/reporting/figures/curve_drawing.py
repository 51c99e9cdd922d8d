"""Curves of groups of runs, with the same colors in all figures of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightrnn_pl.reporting.figures.style import SERIES, series_color
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
    marker: str = "o",
    line: str = "-",
) -> None:
    """Draw means, joined by a line, with error bars; points without a value are omitted."""
    points = [(position, spread) for position, spread in zip(x, spreads, strict=True) if spread is not None]
    means = [spread.mean for _, spread in points]
    axes.plot([position for position, _ in points], means, line, color=color, marker=marker, label=label)
    for position, spread in points:
        if spread.deviation:
            axes.errorbar(position, spread.mean, spread.deviation, color=color, capsize=3, elinewidth=1.2)


def hollow(color: str, marker: str = "o") -> dict[str, Any]:
    """The style of a hollow marker, which may surround another one."""
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": 7,
        "markerfacecolor": "none",
        "markeredgecolor": color,
        "markeredgewidth": 1.5,
    }


def whole_numbers(axes: Axes) -> None:
    """Restrict the ticks of the horizontal axis to integers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
