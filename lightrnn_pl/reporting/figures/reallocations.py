"""Predicted and measured effects of reallocations, and their time, by round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightrnn_pl.reporting.figures.curve_drawing import draw_curve, whole_numbers, with_colors
from lightrnn_pl.reporting.figures.style import FAINT, INK, legend_below, new_figure
from lightrnn_pl.reporting.run_groups import Group, Spread

_LINEAR_RANGE = 0.01
"""Changes of the loss up to this many nats are on a linear scale, larger ones on a logarithmic scale."""


def draw_reallocations(groups: Sequence[Group], path: Path) -> bool:
    """Draw change of loss, reallocated words, gap and seconds; False if there was no reallocation."""
    shown = [group for group in groups if any(_moves(run.metrics) for run in group.runs)]
    if not shown:
        return False
    with new_figure(path, width=9.2, height=6.0 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        loss, moved, gap, seconds = figure.subplots(2, 2).flat
        for number, (color, group) in enumerate(with_colors(shown, groups)):
            rounds = sorted({index for run in group.runs for index in _moves(run.metrics)})
            # Shift the groups, so that their markers do not overlap.
            shift = 0.5 * (number - (len(shown) - 1) / 2) / max(5, len(shown))
            x = [index + 1 + shift for index in rounds]

            spreads = {
                key: [group.spread(partial(_of_move, index=index, key=key)) for index in rounds]
                for key in ("share_moved", "seconds")
            }
            gaps = [group.spread(partial(_gap, index=index)) for index in rounds]
            for key, marker, filled in (("nll_predicted", "v", True), ("nll_measured", "o", False)):
                changes = [group.spread(partial(_change_of_loss, index=index, key=key)) for index in rounds]
                points = [(position, one.mean) for position, one in zip(x, changes, strict=True) if one is not None]
                style = {} if filled else {"markerfacecolor": "none", "markeredgewidth": 1.6}
                if points:
                    loss.plot(*zip(*points, strict=True), linestyle="none", marker=marker, color=color, **style)
            draw_curve(moved, x, _times(100, spreads["share_moved"]), color, group.label)
            draw_curve(gap, x, _times(100, gaps), color, group.label)
            draw_curve(seconds, x, spreads["seconds"], color, group.label)
        for label, marker, fill in (("predicted", "v", INK), ("measured", "o", "none")):
            loss.plot([], [], linestyle="none", marker=marker, color=INK, markerfacecolor=fill, label=label)
        loss.axhline(0, color=FAINT, linewidth=1.2, zorder=1)
        # Reallocating columns changes the loss by hundredths of a nat, reallocating rows and columns by whole nats.
        loss.set_yscale("symlog", linthresh=_LINEAR_RANGE, linscale=0.5)
        loss.margins(y=0.12)
        loss.yaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
        loss.set(title="change of the training loss, nats per word")
        loss.legend(loc="best", ncols=2, columnspacing=0.8, handletextpad=0.1)
        moved.set(title="reallocated words, %")
        gap.set(title="optimality gap of the solver, %")
        seconds.set(title="statistics and solver, seconds")
        last = max(index for group in shown for run in group.runs for index in _moves(run.metrics)) + 1
        for axes in (loss, moved, gap, seconds):
            whole_numbers(axes)
            axes.set(xlabel="after round", xlim=(0.5, last + 0.5))
            if axes is not loss:
                top = max(axes.get_ylim()[1], 1e-9)
                axes.set_ylim(-0.03 * top, 1.12 * top)
        legend_below(figure, moved)
    return True


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
