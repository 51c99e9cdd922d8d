"""Predicted and measured effects of reallocations, and their time, by round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightrnn_pl.plotting.hover import add_titles
from lightrnn_pl.plotting.style import FAINT, INK, WIDTH, legend_below, new_figure, whole_numbers
from lightrnn_pl.reporting.figures.curve_drawing import draw_curve, with_colors
from lightrnn_pl.reporting.run_groups import Group, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINEAR_RANGE = 0.01
"""Changes of the loss up to this many nats are on a linear scale, larger ones on a logarithmic scale."""

_MARKERS = {"predicted": ("v", True), "measured": ("o", False)}
"""Kind of change -> its marker, and whether the marker is filled."""


def narrow_variant(path: Path) -> Path:
    """The SVG with the panels of the figure ``path`` in one column."""
    return path.with_name(f"{path.stem}-narrow.svg")


def draw_reallocations(groups: Sequence[Group], path: Path) -> bool:
    """Draw change of loss, reallocated words, gap and seconds; False if there was no reallocation.

    The four panels are in two columns, and, in another SVG file for narrow screens, in one column.
    """
    shown = [group for group in groups if any(_moves(run.metrics) for run in group.runs)]
    if not shown:
        return False
    colored = with_colors(shown, groups)
    with new_figure(path, 2 * WIDTH, 5.6) as figure:
        panels = list(figure.subplots(2, 2).flat)
        _draw_panels(panels, colored)
        legend_below(figure, panels[1])
    narrow = narrow_variant(path)
    with new_figure(narrow, WIDTH, 11.0, suffixes=[narrow.suffix]) as figure:
        panels = list(figure.subplots(4).flat)
        _draw_panels(panels, colored)
        legend_below(figure, panels[1])
    return True


def _draw_panels(panels: Sequence[Axes], shown: Sequence[tuple[str, Group]]) -> None:
    loss, moved, gap, seconds = panels
    for number, (color, group) in enumerate(shown):
        rounds = sorted({index for run in group.runs for index in _moves(run.metrics)})
        # Shift the groups, so that their markers do not overlap.
        shift = 0.5 * (number - (len(shown) - 1) / 2) / max(5, len(shown))
        x = [index + 1 + shift for index in rounds]
        for kind, (marker, is_filled) in _MARKERS.items():
            changes = [group.spread(partial(_change_of_loss, index=index, key=f"nll_{kind}")) for index in rounds]
            style: dict[str, Any] = {} if is_filled else {"markerfacecolor": "none", "markeredgewidth": 1.6}
            points = [
                (position, change.mean, f"{group.label}\nafter round {index + 1}: {change.mean:+.4f} nats {kind}")
                for position, change, index in zip(x, changes, rounds, strict=True)
                if change is not None
            ]
            xy = [[point[axis] for point in points] for axis in (0, 1)]
            loss.plot(*xy, linestyle="none", marker=marker, color=color, **style)
            add_titles(loss, points)
        share, duration = (
            [group.spread(partial(_of_move, index=index, key=key)) for index in rounds]
            for key in ("share_moved", "seconds")
        )
        gaps = [group.spread(partial(_gap, index=index)) for index in rounds]
        quantities = [f"after round {index + 1}:" for index in rounds]
        draw_curve(moved, x, _times(100, share), color, group.label, quantities, "{:.1f}%")
        draw_curve(gap, x, _times(100, gaps), color, group.label, quantities, "{:.3g}%")
        draw_curve(seconds, x, duration, color, group.label, quantities, "{:,.1f} s")
    for label, (marker, is_filled) in _MARKERS.items():
        fill = INK if is_filled else "none"
        loss.plot([], [], linestyle="none", marker=marker, color=INK, markerfacecolor=fill, label=label)
    loss.axhline(0, color=FAINT, linewidth=1.2, zorder=1)
    # Reallocating columns changes the loss by hundredths of a nat, reallocating rows and columns by whole nats.
    loss.set_yscale("symlog", linthresh=_LINEAR_RANGE, linscale=0.5)
    loss.margins(y=0.12)
    loss.yaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
    loss.legend(loc="best", ncols=2, columnspacing=0.8, handletextpad=0.1)
    loss.set(title="change of the training loss, nats per word")
    moved.set(title="reallocated words, %")
    gap.set(title="optimality gap of the solver, %")
    seconds.set(title="statistics and solver, seconds")
    last = max(index for _, group in shown for run in group.runs for index in _moves(run.metrics)) + 1
    for axes in panels:
        whole_numbers(axes)
        axes.set(xlabel="after round", xlim=(0.5, last + 0.5))
        if axes is not loss:
            top = max(axes.get_ylim()[1], 1e-9)
            axes.set_ylim(-0.03 * top, 1.12 * top)


def _times(factor: float, spreads: Iterable[Spread | None]) -> list[Spread | None]:
    return [
        None
        if one is None
        else Spread(factor * one.mean, None if one.deviation is None else factor * one.deviation, one.n)
        for one in spreads
    ]


def _of_move(metrics: Mapping[str, Any], index: int, key: str) -> float | None:
    return _moves(metrics).get(index, {}).get(key)


def _gap(metrics: Mapping[str, Any], index: int) -> float | None:
    """The optimality gap; None for the control, which does not use a solver."""
    return None if _of_move(metrics, index, "solver") == "KeepSolver" else _of_move(metrics, index, "gap")


def _change_of_loss(metrics: Mapping[str, Any], index: int, key: str) -> float | None:
    before, after = (_of_move(metrics, index, name) for name in ("nll_before", key))
    return None if before is None or after is None else after - before


def _moves(metrics: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The metrics of each reallocation, by the index of the round that it ended."""
    return {
        index: summary["reallocation"]
        for index, summary in enumerate(metrics.get("rounds") or ())
        if summary.get("reallocation")
    }
