"""The pictures of a report: curves (LightRNN, Figure 4), compression (Slim Embedding, Figures 2 to 5), the frontier of
size and perplexity, and what reallocations promised, kept and took.

A picture is made where the runs have what it shows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightrnn_pl.reporting.drawing import FAINT, INK, SERIES, color_of, drawn, legend_below
from lightrnn_pl.reporting.groups import Group, Spread
from lightrnn_pl.reporting.slim_curves import Over, Point, slim_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Caption:
    """What stands at a picture."""

    title: str
    text: str


CAPTIONS = {
    "epochs": Caption(
        "Perplexity over training",
        "Validation perplexity after each epoch, a line a run. A hollow mark is the end of a round: there the words "
        "move (LightRNN, Figure 4).",
    ),
    "rounds": Caption(
        "Perplexity by round",
        "The best validation perplexity of each round, mean and sample standard deviation over the seeds "
        "(LightRNN, Figure 4).",
    ),
    "compression": Caption(
        "Perplexity over compression",
        "Test perplexity over the reciprocal of the compression ratio of the shared vectors; dashed: the model without "
        "sharing (Slim Embedding, Figures 2 and 4).",
    ),
    "parts": Caption(
        "Perplexity over K",
        "Test perplexity over the number of sub-vectors that make a word's vector, the ratio being the same; dashed: "
        "the model without sharing (Slim Embedding, Figures 3 and 5).",
    ),
    "frontier": Caption(
        "Perplexity against parameters",
        "Every model by its size and its test perplexity. The line joins those that no other beats in both; hollow "
        "squares are the paper's own figures, where a run is meant to reproduce them.",
    ),
    "reallocation": Caption(
        "What reallocations did",
        "By round: how the training loss changed by the move, as the loss statistics promised and as was measured with "
        "the new codes fed; the words that moved; how far the solver may be from the optimum; what it all took.",
    ),
}
"""Titles and captions, by the names of the pictures."""

_FAR = 3.0
"""The first epochs are far above the rest and would flatten it: up to this many times a curve's best is shown."""


def write_pictures(groups: Sequence[Group], folder: str | Path) -> dict[str, Path]:
    """Draw what the groups allow.

    Args:
        groups: Of one report.
        folder: Where ``NAME.png`` and ``NAME.svg`` go.

    Returns:
        Name of each picture (a key of ``CAPTIONS``) -> its PNG; the SVG lies beside it.
    """
    painters: dict[str, Callable[[Sequence[Group], Path], bool]] = {
        "epochs": _draw_epochs,
        "rounds": _draw_rounds,
        "compression": lambda all_groups, path: _draw_slim(all_groups, path, "ratio"),
        "parts": lambda all_groups, path: _draw_slim(all_groups, path, "parts"),
        "frontier": _draw_frontier,
        "reallocation": _draw_reallocation,
    }
    paths = {name: Path(folder) / f"{name}.png" for name in painters}
    return {name: paths[name] for name, draw in painters.items() if draw(groups, paths[name])}


def _draw_epochs(groups: Sequence[Group], path: Path) -> bool:
    shown = [group for group in groups if any(_history(run.metrics) for run in group.runs)]
    if not shown:
        return False
    from matplotlib.ticker import MaxNLocator, NullLocator

    best, worst = math.inf, 0.0  # of what is shown
    with drawn(path, height=4.2 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        axes = figure.add_subplot()
        for color, group in _colored(shown, groups):
            for seed, run in enumerate(group.runs):
                history = _history(run.metrics)
                label = group.label if seed == 0 else None
                epochs = [line["epoch"] for line in history]
                curve = [line["valid_perplexity"] for line in history]
                best, worst = min(best, *curve), max(worst, min(max(curve), _FAR * min(curve)))
                alpha = 1.0 if len(group.runs) == 1 else 0.65
                axes.plot(epochs, curve, marker=".", color=color, label=label, alpha=alpha)
                ends = [before for before, after in itertools.pairwise(history) if before["round"] != after["round"]]
                axes.plot(
                    [line["epoch"] for line in ends],
                    [line["valid_perplexity"] for line in ends],
                    **_hollow(color),
                )
        axes.set(xlabel="epochs", ylabel="validation perplexity")
        _whole_numbers(axes)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(best / 1.04, 1.04 * worst)
        legend_below(figure, axes)
    return True


def _draw_rounds(groups: Sequence[Group], path: Path) -> bool:
    shown = [group for group in groups if max(len(run.metrics.get("rounds") or ()) for run in group.runs) > 1]
    if not shown:
        return False
    with drawn(path, height=3.8 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        axes = figure.add_subplot()
        for color, group in _colored(shown, groups):
            last = max(len(run.metrics["rounds"]) for run in group.runs)
            spreads = [group.spread(partial(_of_round, place=place)) for place in range(last)]
            _curve(axes, [r + 1 for r in range(last)], spreads, color, group.label)
        axes.set(xlabel="round", ylabel="validation perplexity, best of the round")
        _whole_numbers(axes)
        legend_below(figure, axes)
    return True


def _draw_slim(groups: Sequence[Group], path: Path, over: Over) -> bool:
    curves, baselines = slim_curves(groups, over)
    if not curves:
        return False
    with drawn(path, height=3.8 + 0.2 * math.ceil((len(curves) + len(baselines)) / 2)) as figure:
        axes = figure.add_subplot()
        for number, (label, points) in enumerate(curves.items()):
            color = color_of(number)
            _curve(axes, [point.x for point in points], [point.perplexity for point in points], color, label)
            known = [(point.x, point.paper) for point in points if point.paper is not None]
            if known:
                name = "the paper's figures" if number == 0 else None
                axes.plot(*zip(*known, strict=True), **_hollow(color, "s"), label=name)
        for number, (label, perplexity) in enumerate(baselines.items()):
            axes.axhline(perplexity.mean, color=INK, linestyle=(0, (4, 3 + number)), linewidth=1.2, label=label)
        places = sorted({point.x for points in curves.values() for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [_place(place, over) for place in places])
        axes.minorticks_off()
        axes.set(
            xlabel="size beside that of full vectors" if over == "ratio" else "sub-vectors a word, K",
            ylabel="test perplexity",
        )
        legend_below(figure, axes)
    return True


def _place(place: float, over: Over) -> str:
    return f"1/{place:.3g}" if over == "ratio" and place > 1 else f"{place:.3g}"


def _draw_frontier(groups: Sequence[Group], path: Path) -> bool:
    corpora: dict[str, list[tuple[Group, float, Spread]]] = {}
    for group in groups:
        spread, parameters = Point.measured(group), group.runs[0].metrics.get("parameters")
        if spread is not None and parameters:
            corpora.setdefault(corpus_of(group), []).append((group, float(parameters), spread))
    if not any(len({parameters for _, parameters, _ in found}) > 1 for found in corpora.values()):
        return False
    lines = [frontier((parameters, spread.mean) for _, parameters, spread in found) for found in corpora.values()]
    every = sorted((one for found in corpora.values() for one in found), key=lambda one: groups.index(one[0]))
    best = {point for line in lines for point in line}
    # Where there are too many for a colour each, those on the line have one.
    named = [one for one in every if len(every) <= _NAMED or (one[1], one[2].mean) in best]
    with drawn(path, height=4.4 + 0.2 * math.ceil(len(named) / 2)) as figure:
        axes = figure.add_subplot()
        for line in lines:
            axes.step(*zip(*line, strict=True), where="post", color=FAINT, linewidth=1.1, zorder=1)
        others = [
            (parameters, spread.mean) for group, parameters, spread in every if (group, parameters, spread) not in named
        ]
        if others:
            axes.plot(*zip(*others, strict=True), "o", color=FAINT, alpha=0.55, label=f"{len(others)} others")
        colors = [color for color, _ in _colored([group for group, _, _ in named], groups)]
        for number, (group, parameters, spread) in enumerate(named):
            marker = _MARKERS[number // len(SERIES) % len(_MARKERS)]
            _curve(axes, [parameters], [spread], colors[number], group.label, marker)
            row = group.paper
            if row is not None and not group.small and row.perplexity and row.parameters:
                axes.plot(row.parameters, row.perplexity, **_hollow(colors[number], "s"))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: _short(value))
        axes.xaxis.set_minor_formatter(lambda value, _: _short(value) if f"{value:e}"[0] in "25" else "")
        axes.set(xlabel="parameters", ylabel="test perplexity")
        legend_below(figure, axes)
    return True


_NAMED = 12
_MARKERS = "oDv^"


_LINEAR = 0.01
"""Nats; up to so much of a change of loss the axis is linear, logarithmic beyond."""


def _draw_reallocation(groups: Sequence[Group], path: Path) -> bool:
    shown = [group for group in groups if any(_moves(run.metrics) for run in group.runs)]
    if not shown:
        return False
    with drawn(path, width=9.2, height=6.0 + 0.2 * math.ceil(len(shown) / 2)) as figure:
        loss, moved, gap, seconds = figure.subplots(2, 2).flat
        for number, (color, group) in enumerate(_colored(shown, groups)):
            rounds = sorted({place for run in group.runs for place in _moves(run.metrics)})
            # Groups stand side by side where they have the same round.
            beside = 0.5 * (number - (len(shown) - 1) / 2) / max(5, len(shown))
            places = [place + 1 + beside for place in rounds]

            told_of = {
                key: [group.spread(partial(_of_move, place=place, key=key)) for place in rounds]
                for key in ("share_moved", "gap", "seconds")
            }
            for key, marker, filled in (("nll_predicted", "v", True), ("nll_measured", "o", False)):
                changes = [group.spread(partial(_change_of_loss, place=place, key=key)) for place in rounds]
                known = [(place, one.mean) for place, one in zip(places, changes, strict=True) if one is not None]
                style = {} if filled else {"markerfacecolor": "none", "markeredgewidth": 1.6}
                if known:
                    loss.plot(*zip(*known, strict=True), linestyle="none", marker=marker, color=color, **style)
            _curve(moved, places, _times(100, told_of["share_moved"]), color, group.label)
            _curve(gap, places, _times(100, told_of["gap"]), color, group.label)
            _curve(seconds, places, told_of["seconds"], color, group.label)
        for label, marker, fill in (("promised", "v", INK), ("kept", "o", "none")):
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
            _whole_numbers(axes)
            axes.set(xlabel="after round", xlim=(0.5, last + 0.5))
            if axes is not loss:
                top = max(axes.get_ylim()[1], 1e-9)
                axes.set_ylim(-0.03 * top, 1.12 * top)
        legend_below(figure, moved)
    return True


def _colored(shown: Sequence[Group], groups: Sequence[Group]) -> list[tuple[str, Group]]:
    """Each group with its colour, the same in all pictures of a report as long as there are enough of them."""
    everywhere = groups if len(groups) <= len(SERIES) else shown
    return [(color_of(everywhere.index(group)), group) for group in shown]


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (size, perplexity) that no other beats or equals in both, by size."""
    best: list[tuple[float, float]] = []
    for size, perplexity in sorted(points):
        if not best or perplexity < best[-1][1]:
            best.append((size, perplexity))
    return best


def corpus_of(group: Group) -> str:
    """What a group was trained on: perplexities of other texts and vocabularies are not comparable."""
    metrics = group.runs[0].metrics
    corpus = (metrics.get("protocol") or {}).get("corpus", "")
    return f"{corpus} {metrics.get('vocabulary')} {metrics.get('tokens')}"


def _curve(
    axes: Axes, places: Sequence[float], spreads: Sequence[Spread | None], color: str, label: str, marker: str = "o"
) -> None:
    """Means with their deviations, joined."""
    known = [(place, spread) for place, spread in zip(places, spreads, strict=True) if spread is not None]
    axes.plot(
        [place for place, _ in known], [spread.mean for _, spread in known], color=color, marker=marker, label=label
    )
    for place, spread in known:
        if spread.deviation:
            axes.errorbar(place, spread.mean, spread.deviation, color=color, capsize=3, elinewidth=1.2)


def _hollow(color: str, marker: str = "o") -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": 7,
        "markerfacecolor": "none",
        "markeredgecolor": color,
        "markeredgewidth": 1.5,
    }


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _times(factor: float, spreads: Iterable[Spread | None]) -> list[Spread | None]:
    return [
        None
        if one is None
        else Spread(factor * one.mean, None if one.deviation is None else factor * one.deviation, one.n)
        for one in spreads
    ]


def _history(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [line for line in metrics.get("history") or () if line.get("valid_perplexity") is not None]


def _of_round(metrics: Mapping[str, Any], place: int) -> float | None:
    rounds = metrics.get("rounds") or ()
    return rounds[place].get("valid_perplexity") if place < len(rounds) else None


def _of_move(metrics: Mapping[str, Any], place: int, key: str) -> float | None:
    return _moves(metrics).get(place, {}).get(key)


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
