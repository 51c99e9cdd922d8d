"""The rows of a report: metrics of a group of runs, or of a command, and the corresponding row of a paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightrnn_pl.number_text import batch_limit_text, epochs_text
from lightrnn_pl.reporting.paper_tables import PaperRow, paper_note
from lightrnn_pl.reporting.run_groups import Group, Spread
from lightrnn_pl.reporting.runs import Run

_TIMES_TABLE = "lightrnn_table3"


@dataclass(frozen=True)
class Row:
    """A row of a report.

    Attributes:
        label: The name of the model.
        metrics: Key of ``METRICS`` -> the measured values.
        seeds: The seeds of the runs; empty if there are no runs.
        paper: The corresponding row of a paper, if any.
        small: Whether this is a small-scale version of that row.
        corpus: The training corpus; None if unknown.
        note: How the model deviates from the paper's, or why its number of parameters does; None if it does not.
        batch_limit: The override that limited epochs to a part of the text; None if there was none.
        validation_limit: The override that limited validation to a part of its text; None if there was none.
    """

    label: str
    metrics: Mapping[str, Spread]
    seeds: tuple[int | None, ...] = ()
    paper: PaperRow | None = None
    small: bool = False
    corpus: str | None = None
    note: str | None = None
    batch_limit: str | None = None
    validation_limit: str | None = None


@dataclass(frozen=True)
class Metric:
    """A column of a report.

    Attributes:
        title: The heading of the column.
        format: Formats a value.
        extract: Gets the value from a run's metrics; None if only other commands measure it.
        only_with_paper: Show the column only in tables whose paper prints the metric.
    """

    title: str
    format: Callable[[float], str]
    extract: Callable[[Mapping[str, Any]], float | None] | None = None
    only_with_paper: bool = False


def _perplexity_text(value: float) -> str:
    return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"


def _count_text(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def _megabytes_text(value: float) -> str:
    return f"{value / 1e6:,.2f}"


def _hours(metrics: Mapping[str, Any]) -> float | None:
    return metrics["seconds"] / 3600 if metrics.get("seconds") else None


def _reallocation_share(metrics: Mapping[str, Any]) -> float | None:
    """The share of the training time that loss statistics and solver took."""
    moves = [summary["reallocation"] for summary in metrics.get("rounds") or () if summary.get("reallocation")]
    return sum(move["seconds"] for move in moves) / metrics["seconds"] if moves and metrics.get("seconds") else None


def _epochs(metrics: Mapping[str, Any]) -> float | None:
    history = metrics.get("history")
    return history[-1].get("epoch") if history else None


def _best_round(metrics: Mapping[str, Any]) -> float | None:
    """The round of the best validation, after which ``best.ckpt`` was written; None if there was only one round."""
    validations = [entry for entry in metrics.get("history") or () if entry.get("valid_perplexity") is not None]
    if len(metrics.get("rounds") or ()) < 2 or not validations:
        return None
    return min(validations, key=lambda entry: entry["valid_perplexity"]).get("round")


def _at(*keys: str) -> Callable[[Mapping[str, Any]], float | None]:
    def extract(metrics: Mapping[str, Any]) -> float | None:
        node: Any = metrics
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    return extract


METRICS: dict[str, Metric] = {
    "valid_perplexity": Metric("validation perplexity", _perplexity_text, _at("validation", "perplexity")),
    "perplexity": Metric("test perplexity", _perplexity_text, _at("test", "perplexity")),
    "bleu": Metric("test BLEU", "{:.2f}".format),
    "cpu_seconds": Metric("CPU seconds", "{:.3g}".format),
    "gpu_milliseconds": Metric("GPU ms", "{:.3g}".format),
    "parameters": Metric("parameters", _count_text, _at("parameters")),
    "parameter_bytes": Metric("MB", _megabytes_text, _at("bytes", "parameters")),
    "table_bytes": Metric("MB of tables", _megabytes_text, _at("bytes", "tables")),
    "words_per_second": Metric("words/s", "{:,.0f}".format, _at("words_per_second")),
    "rounds": Metric("rounds", _count_text, lambda metrics: len(metrics.get("rounds") or ()) or None),
    "best_round": Metric("round of best.ckpt", _count_text, _best_round),
    "epochs": Metric("epochs", epochs_text, _epochs),
    "hours": Metric("hours", "{:,.2f}".format, _hours, only_with_paper=True),
    "reallocation_share": Metric("reallocation", "{:.2%}".format, _reallocation_share, only_with_paper=True),
}
"""The measured columns of a report, in order; their names are those of the papers' tables (``paper/*.csv``)."""

PAPER_COLUMNS = {
    "perplexity": "paper: perplexity",
    "parameters": "paper: parameters",
    "input_size": "paper: size of input",
    "bleu": "paper: BLEU",
    "cpu_seconds": "paper: CPU seconds",
    "gpu_milliseconds": "paper: GPU ms",
    "hours": "paper: hours",
    "reallocation_share": "paper: reallocation",
}
"""Metric -> heading of the column with the paper's values."""


def group_rows(groups: Sequence[Group]) -> list[Row]:
    """One row per group.  If corpora of different sizes have the same name, their size is part of it."""
    sizes: dict[str | None, set[int | None]] = {}
    for group in groups:
        sizes.setdefault(group.runs[0].corpus, set()).add(group.runs[0].training_tokens)

    def corpus(run: Run) -> str | None:
        is_unique = len(sizes[run.corpus]) == 1 or run.training_tokens is None
        return run.corpus if is_unique else f"{run.corpus} ({run.training_tokens:,} tokens)"

    return [
        Row(
            group.label,
            _measured(group, groups),
            tuple(run.seed for run in group.runs),
            group.paper,
            group.small,
            corpus(group.runs[0]),
            paper_note(group.config),
            batch_limit_text(group.config.get("trainer") or {}, "limit_train_batches", "overfit_batches"),
            batch_limit_text(group.config.get("trainer") or {}, "limit_val_batches", "overfit_batches"),
        )
        for group in groups
    ]


def _measured(group: Group, groups: Sequence[Group]) -> dict[str, Spread]:
    spreads = {key: group.spread(metric.extract) for key, metric in METRICS.items() if metric.extract is not None}
    if group.paper is not None and group.paper.table == _TIMES_TABLE:
        spreads["hours"] = _hours_to_the_baseline(group, groups)
    return {key: spread for key, spread in spreads.items() if spread is not None}


def _hours_to_the_baseline(group: Group, groups: Sequence[Group]) -> Spread | None:
    """LightRNN, Table 3: hours to the best validation perplexity of the hierarchical softmax on the same corpus.

    None if there is no such baseline, or its perplexity is not reached.
    """
    baseline = next((other for other in groups if _is_baseline(other, group)), None)
    if baseline is None:
        return None
    if baseline is group:  # compare each run with its own best
        return group.spread(lambda metrics: _hours_to(metrics, min(_validations(metrics), default=0.0)))
    best = baseline.spread(lambda metrics: min(_validations(metrics), default=None))
    return None if best is None else group.spread(lambda metrics: _hours_to(metrics, best.mean))


def _is_baseline(other: Group, group: Group) -> bool:
    """Whether ``other`` is the hierarchical softmax on the corpus of ``group`` in Table 3."""
    if other.paper is None or group.paper is None or (other.paper.table, other.small) != (_TIMES_TABLE, group.small):
        return False
    method, _, corpus = other.paper.row.rpartition(" ")
    return method.endswith("HSM") and corpus == group.paper.row.rpartition(" ")[2]


def _validations(metrics: Mapping[str, Any]) -> list[float]:
    return [entry["valid_perplexity"] for entry in metrics.get("history") or () if entry.get("valid_perplexity")]


def _hours_to(metrics: Mapping[str, Any], perplexity: float) -> float | None:
    reached: Iterable[float] = (
        entry["seconds"] / 3600
        for entry in metrics.get("history") or ()
        if entry.get("valid_perplexity") and entry["valid_perplexity"] <= perplexity
    )
    return next(iter(reached), None)
