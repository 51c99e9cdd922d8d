"""Plots and tables of a run's allocation and rounds, for W&B and TensorBoard."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from jaxtyping import Int

from lightrnn_pl.allocation.allocation_file import code_names
from lightrnn_pl.allocation.inspection import typical_codes
from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.training.callbacks.run_metrics import RunMetrics
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.reallocation.table_record import TableRecord
from lightrnn_pl.training.tracking.allocation_plots import draw_frequency, draw_reallocations, grid
from lightrnn_pl.training.tracking.loggers import Cell, FigureLogger
from lightrnn_pl.training.tracking.perplexity_plot import plot_perplexity

_CODES, _WORDS = 100, 12
"""Number of rows and columns to list, and of words per row or column."""

_REALLOCATION_METRICS = (
    *("nll_before", "nll_predicted", "nll_measured", "words_moved", "share_moved", "tokens_moved"),
    *("cost", "lower_bound", "gap", "seconds_statistics", "seconds_solver", "seconds", "solver", "objective"),
)
"""Metrics of a reallocation that are listed."""


class RunPlots(pl.Callback):
    """Logs the initial allocation when training starts, and the new allocation and the rounds after a reallocation.

    It must come after :class:`~lightrnn_pl.training.reallocation.callback.Reallocation` in the list of callbacks.

    Args:
        name: The name of the run.
        path: The PNG file of the perplexity plot.
        metrics: Provides the history and the rounds.
        record: Provides the allocation of each round.
    """

    def __init__(self, name: str, path: str | Path, metrics: RunMetrics, record: TableRecord) -> None:
        self.name, self.path, self.metrics, self.record = name, Path(path), metrics, record
        self._round = 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the initial allocation, unless the run is resumed."""
        self._round = self.metrics.reallocation.round
        assert isinstance(pl_module, LanguageModelingModule)
        if trainer.global_step == 0 and _figure_loggers(trainer):
            self._log_allocation(trainer, pl_module.model.allocation)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the rounds and the new allocation after a reallocation."""
        if self.metrics.reallocation.round == self._round:
            return
        self._round = self.metrics.reallocation.round
        assert isinstance(pl_module, LanguageModelingModule)
        if _figure_loggers(trainer):
            plot_perplexity({self.name: self.metrics.history}, self.path)
            self._log_rounds(trainer)
            self._log_allocation(trainer, pl_module.model.allocation)

    def log_final(self, trainer: pl.Trainer, best: WordAllocation) -> None:
        """Log all rounds and the words of the ``best`` model's allocation; the perplexity plot must be up to date."""
        if _figure_loggers(trainer):
            self._log_rounds(trainer)
            self._log_words(trainer, best)

    def _log_rounds(self, trainer: pl.Trainer) -> None:
        rounds = self.metrics.reallocation.rounds
        columns = ("round", "epochs", "valid_perplexity", *_REALLOCATION_METRICS)
        rows = [_cells(columns, {**summary, **(summary.get("reallocation") or {})}) for summary in rounds]
        last = {"round": rounds[-1]["round"], "round/valid_perplexity": rounds[-1]["valid_perplexity"]}
        for logger in _figure_loggers(trainer):
            logger.log_metrics(last, step=trainer.global_step)
            logger.log_rows("figures/rounds", columns, rows, trainer.global_step)
            logger.log_figure("figures/perplexity", self.path.read_bytes(), trainer.global_step)

    def _log_allocation(self, trainer: pl.Trainer, allocation: WordAllocation) -> None:
        if allocation.num_components == 1:
            return
        paths = {number: self.record.folder.round_table(number) for number in range(1, self._round + 1)}
        tables = {number: TableSnapshot.load(path).codes for number, path in paths.items() if path.is_file()}
        codes, sides, title = tables[self._round], allocation.sides, f"{self.name}, round {self._round}"
        counts = grid(self.record.vocabulary.counts, codes, sides)
        rounds = grid(last_change(tables), codes, sides)
        for name, png in (
            ("table/frequency", draw_frequency(counts, title)),
            ("table/moved", draw_reallocations(rounds, self._round, title)),
        ):
            for logger in _figure_loggers(trainer):
                logger.log_figure(name, png, trainer.global_step)
        self._log_words(trainer, allocation)

    def _log_words(self, trainer: pl.Trainer, allocation: WordAllocation) -> None:
        if allocation.num_components == 1:
            return
        words, counts = self.record.vocabulary.words, self.record.vocabulary.counts
        rows = [
            (name, line["code"], line["share"], " ".join(line["words"]))
            for axis, name in enumerate(code_names(allocation.num_components))
            for line in typical_codes(allocation, words, counts, axis, _CODES, _WORDS)
        ]
        for logger in _figure_loggers(trainer):
            columns = ("axis", "code", "share of the text", "words")
            logger.log_rows("table/typical_words", columns, rows, trainer.global_step)


def last_change(tables: Mapping[int, Int[np.ndarray, "V k"]]) -> Int[np.ndarray, " V"]:
    """The round since which each word has had the codes of the last table, (V,).

    Args:
        tables: Round -> codes, in order.  If the first rounds are missing, words that were not reallocated later get
            the first round present.
    """
    since = np.full(len(next(iter(tables.values()))), min(tables))
    for (_, before), (number, after) in itertools.pairwise(tables.items()):
        since[(before != after).any(1)] = number
    return since


def _figure_loggers(trainer: pl.Trainer) -> list[FigureLogger]:
    """The loggers that accept figures; none on ranks other than the first."""
    return [logger for logger in trainer.loggers if isinstance(logger, FigureLogger)] if trainer.is_global_zero else []


def _cells(columns: Sequence[str], values: dict[str, Any]) -> list[Cell]:
    return [values.get(column) for column in columns]
