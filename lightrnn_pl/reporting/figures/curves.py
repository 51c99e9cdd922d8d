"""Curves of groups of runs: their colours and marks, the same in all pictures of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightrnn_pl.reporting.figures.style import SERIES, color_of
from lightrnn_pl.reporting.run_groups import Group, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def colored(shown: Sequence[Group], groups: Sequence[Group]) -> list[tuple[str, Group]]:
    """Each group with its colour, the same in all pictures of a report as long as there are enough of them."""
    everywhere = groups if len(groups) <= len(SERIES) else shown
    return [(color_of(everywhere.index(group)), group) for group in shown]


def draw_curve(
    axes: Axes,
    places: Sequence[float],
    spreads: Sequence[Spread | None],
    color: str,
    label: str,
    marker: str = "o",
    line: str = "-",
) -> None:
    """Means with their deviations, joined."""
    known = [(place, spread) for place, spread in zip(places, spreads, strict=True) if spread is not None]
    means = [spread.mean for _, spread in known]
    axes.plot([place for place, _ in known], means, line, color=color, marker=marker, label=label)
    for place, spread in known:
        if spread.deviation:
            axes.errorbar(place, spread.mean, spread.deviation, color=color, capsize=3, elinewidth=1.2)


def hollow(color: str, marker: str = "o") -> dict[str, Any]:
    """How a mark is drawn that lies around another."""
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": 7,
        "markerfacecolor": "none",
        "markeredgecolor": color,
        "markeredgewidth": 1.5,
    }


def whole_numbers(axes: Axes) -> None:
    """No fractions on the horizontal axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
