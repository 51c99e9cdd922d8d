"""The lines of a report: what was measured of a group of runs, or by a command, beside a row of a paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightrnn_pl.reporting.paper_tables import PaperRow
from lightrnn_pl.reporting.run_groups import Group, Spread

_TIMES = "lightrnn_table3"


@dataclass(frozen=True)
class Line:
    """A line of a report.

    Attributes:
        label: What was measured.
        figures: By what they are: a key of ``FIGURES``.
        seeds: Of the runs behind it, where there are runs.
        paper: The row of a paper that it stands beside.
        small: Whether it is a small-scale run of that row.
        corpus: What it was trained on; None where that is not known.
    """

    label: str
    figures: Mapping[str, Spread]
    seeds: tuple[int | None, ...] = ()
    paper: PaperRow | None = None
    small: bool = False
    corpus: str | None = None


@dataclass(frozen=True)
class Figure:
    """Something that is measured.

    Attributes:
        title: At the head of a column.
        text: A number as it is printed.
        of: Where a run's metrics have it; None where only other commands measure it.
        everywhere: False where it is only shown beside a paper that prints it.
    """

    title: str
    text: Callable[[float], str]
    of: Callable[[Mapping[str, Any]], float | None] | None = None
    everywhere: bool = True


def _perplexity_text(value: float) -> str:
    return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"


def _count_text(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def _megabytes_text(value: float) -> str:
    return f"{value / 1e6:,.2f}"


def _hours(metrics: Mapping[str, Any]) -> float | None:
    return metrics["seconds"] / 3600 if metrics.get("seconds") else None


def _reallocation_share(metrics: Mapping[str, Any]) -> float | None:
    """Statistics and solver, of all the time of the run."""
    moves = [done["reallocation"] for done in metrics.get("rounds") or () if done.get("reallocation")]
    return sum(move["seconds"] for move in moves) / metrics["seconds"] if moves and metrics.get("seconds") else None


def _at(*keys: str) -> Callable[[Mapping[str, Any]], float | None]:
    def found(metrics: Mapping[str, Any]) -> float | None:
        node: Any = metrics
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    return found


FIGURES: dict[str, Figure] = {
    "valid_perplexity": Figure("valid perplexity", _perplexity_text, _at("validation", "perplexity")),
    "perplexity": Figure("test perplexity", _perplexity_text, _at("test", "perplexity")),
    "bleu": Figure("test BLEU", "{:.2f}".format),
    "cpu_seconds": Figure("CPU seconds", "{:.3g}".format),
    "parameters": Figure("parameters", _count_text, _at("parameters")),
    "parameter_bytes": Figure("MB", _megabytes_text, _at("bytes", "parameters")),
    "table_bytes": Figure("MB of tables", _megabytes_text, _at("bytes", "tables")),
    "words_per_second": Figure("words/s", "{:,.0f}".format, _at("words_per_second")),
    "rounds": Figure("rounds", _count_text, lambda metrics: len(metrics.get("rounds") or ()) or None),
    "hours": Figure("hours", "{:,.2f}".format, _hours, everywhere=False),
    "reallocation_share": Figure("reallocation", "{:.2%}".format, _reallocation_share, everywhere=False),
}
"""What a report has columns for, in their order; named as in the papers' tables (``paper/*.csv``)."""

PRINTED = {
    "perplexity": "paper: perplexity",
    "parameters": "paper: parameters",
    "input_size": "paper: size of input",
    "bleu": "paper: BLEU",
    "cpu_seconds": "paper: CPU seconds",
    "gpu_milliseconds": "paper: GPU ms",
    "hours": "paper: hours",
    "reallocation_share": "paper: reallocation",
}
"""What the papers' tables have columns for."""


def lines_of(groups: Sequence[Group]) -> list[Line]:
    """One line per group."""
    return [
        Line(
            group.label,
            _measured(group, groups),
            tuple(run.seed for run in group.runs),
            group.paper,
            group.small,
            group.runs[0].corpus,
        )
        for group in groups
    ]


def _measured(group: Group, groups: Sequence[Group]) -> dict[str, Spread]:
    spreads = {key: group.spread(figure.of) for key, figure in FIGURES.items() if figure.of is not None}
    if group.paper is not None and group.paper.table == _TIMES:
        spreads["hours"] = _hours_to_the_baseline(group, groups)
    return {key: spread for key, spread in spreads.items() if spread is not None}


def _hours_to_the_baseline(group: Group, groups: Sequence[Group]) -> Spread | None:
    """LightRNN, Table 3: hours until validation is as good as the best of the hierarchical softmax's on that corpus.

    None where there is no such baseline, or it is not reached.
    """
    baseline = next((other for other in groups if _is_baseline(other, group)), None)
    if baseline is None:
        return None
    if baseline is group:  # each of its runs has its own best
        return group.spread(lambda metrics: _hours_to(metrics, min(_validations(metrics), default=0.0)))
    best = baseline.spread(lambda metrics: min(_validations(metrics), default=None))
    return None if best is None else group.spread(lambda metrics: _hours_to(metrics, best.mean))


def _is_baseline(other: Group, group: Group) -> bool:
    """Whether ``other`` is the hierarchical softmax on the corpus of ``group``, both rows of Table 3."""
    if other.paper is None or group.paper is None or (other.paper.table, other.small) != (_TIMES, group.small):
        return False
    method, _, corpus = other.paper.row.rpartition(" ")
    return method.endswith("HSM") and corpus == group.paper.row.rpartition(" ")[2]


def _validations(metrics: Mapping[str, Any]) -> list[float]:
    return [line["valid_perplexity"] for line in metrics.get("history") or () if line.get("valid_perplexity")]


def _hours_to(metrics: Mapping[str, Any], perplexity: float) -> float | None:
    reached: Iterable[float] = (
        line["seconds"] / 3600
        for line in metrics.get("history") or ()
        if line.get("valid_perplexity") and line["valid_perplexity"] <= perplexity
    )
    return next(iter(reached), None)
