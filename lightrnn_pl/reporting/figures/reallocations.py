"""What reallocations promised, did and took, by round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightrnn_pl.reporting.figures.curves import colored, draw_curve, whole_numbers
from lightrnn_pl.reporting.figures.style import FAINT, INK, drawn, legend_below
from lightrnn_pl.reporting.run_groups import Group, Spread

_LINEAR = 0.01
"""Nats; up to so much of a change of loss the axis is linear, logarithmic beyond."""


def draw_moves(groups: Sequence[Group], path: Path) -> bool:
    """Change of loss, words moved, gap and seconds; False where no round has ended in a reallocation."""
    shown = [group for group in groups if any(_moves(run.metrics) for run in group.runs)]
    if not shown:
        return False
    with drawn(path, width=9.2, height=6.0 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        loss, moved, gap, seconds = figure.subplots(2, 2).flat
        for number, (color, group) in enumerate(colored(shown, groups)):
            rounds = sorted({place for run in group.runs for place in _moves(run.metrics)})
            # Groups stand side by side where they have the same round.
            beside = 0.5 * (number - (len(shown) - 1) / 2) / max(5, len(shown))
            places = [place + 1 + beside for place in rounds]

            told_of = {
                key: [group.spread(partial(_of_move, place=place, key=key)) for place in rounds]
                for key in ("share_moved", "seconds")
            }
            gaps = [group.spread(partial(_gap, place=place)) for place in rounds]
            for key, marker, filled in (("nll_predicted", "v", True), ("nll_measured", "o", False)):
                changes = [group.spread(partial(_change_of_loss, place=place, key=key)) for place in rounds]
                known = [(place, one.mean) for place, one in zip(places, changes, strict=True) if one is not None]
                style = {} if filled else {"markerfacecolor": "none", "markeredgewidth": 1.6}
                if known:
                    loss.plot(*zip(*known, strict=True), linestyle="none", marker=marker, color=color, **style)
            draw_curve(moved, places, _times(100, told_of["share_moved"]), color, group.label)
            draw_curve(gap, places, _times(100, gaps), color, group.label)
            draw_curve(seconds, places, told_of["seconds"], color, group.label)
        for label, marker, fill in (("promised", "v", INK), ("measured", "o", "none")):
            loss.plot([], [], linestyle="none", marker=marker, color=INK, markerfacecolor=fill, label=label)
        loss.axhline(0, color=FAINT, linewidth=1.2, zorder=1)
        # A move of columns changes hundredths where one of rows and columns changes whole nats.
        loss.set_yscale("symlog", linthresh=_LINEAR, linscale=0.5)
        loss.margins(y=0.12)
        loss.yaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if value else "0")
        loss.set(title="change of the training loss, nats a word")
        loss.legend(loc="best", ncols=2, columnspacing=0.8, handletextpad=0.1)
        moved.set(title="words moved, %")
        gap.set(title="solver's gap, %")
        seconds.set(title="statistics and solver, seconds")
        last = max(place for group in shown for run in group.runs for place in _moves(run.metrics)) + 1
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


def _of_move(metrics: Mapping[str, Any], place: int, key: str) -> float | None:
    return _moves(metrics).get(place, {}).get(key)


def _gap(metrics: Mapping[str, Any], place: int) -> float | None:
    """The control solves nothing, so that its distance from the optimum says nothing of a solver."""
    return None if _of_move(metrics, place, "solver") == "KeepSolver" else _of_move(metrics, place, "gap")


def _change_of_loss(metrics: Mapping[str, Any], place: int, key: str) -> float | None:
    before, after = (_of_move(metrics, place, name) for name in ("nll_before", key))
    return None if before is None or after is None else after - before


def _moves(metrics: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """What each reallocation did, by the place of the round that it ended."""
    return {
        place: done["reallocation"]
        for place, done in enumerate(metrics.get("rounds") or ())
        if done.get("reallocation")
    }
