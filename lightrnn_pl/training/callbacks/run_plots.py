"""The word table, its words and the rounds, shown where a run is watched: W&B, TensorBoard."""

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
from lightrnn_pl.training.tracking.allocation_plots import draw_frequency, draw_moves, grid
from lightrnn_pl.training.tracking.loggers import Cell, PictureLogger
from lightrnn_pl.training.tracking.perplexity_plot import plot_perplexity

_CODES, _WORDS = 100, 12
"""How many rows and columns are listed, and words of each."""

_MOVE = (
    *("nll_before", "nll_predicted", "nll_measured", "words_moved", "share_moved", "tokens_moved"),
    *("cost", "lower_bound", "gap", "seconds_statistics", "seconds_solver", "seconds", "solver", "objective"),
)
"""The logged fields of a reallocation."""


class RunPictures(pl.Callback):
    """Shows the first table when training starts, and the new table and the round before it when words have moved.

    It stands behind :class:`~lightrnn_pl.training.reallocation.callback.Reallocation`, which moves them.

    Args:
        name: Of the run.
        path: The PNG file of perplexity over training.
        metrics: Knows history and rounds.
        record: Keeps the table of each round.
    """

    def __init__(self, name: str, path: str | Path, metrics: RunMetrics, record: TableRecord) -> None:
        self.name, self.path, self.metrics, self.record = name, Path(path), metrics, record
        self._round = 1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the first table; a resumed run has shown it."""
        self._round = self.metrics.reallocation.round
        assert isinstance(pl_module, LanguageModelingModule)
        if trainer.global_step == 0 and _loggers(trainer):
            self._show_table(trainer, pl_module.model.allocation)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what a reallocation did."""
        if self.metrics.reallocation.round == self._round:
            return
        self._round = self.metrics.reallocation.round
        assert isinstance(pl_module, LanguageModelingModule)
        if _loggers(trainer):
            plot_perplexity({self.name: self.metrics.history}, self.path)
            self._show_rounds(trainer)
            self._show_table(trainer, pl_module.model.allocation)

    def conclude(self, trainer: pl.Trainer, best: WordAllocation) -> None:
        """Show all of the training, and the words of the ``best`` model's table; once the last picture is drawn."""
        if _loggers(trainer):
            self._show_rounds(trainer)
            self._show_words(trainer, best)

    def _show_rounds(self, trainer: pl.Trainer) -> None:
        rounds = self.metrics.reallocation.rounds
        columns = ("round", "epochs", "valid_perplexity", *_MOVE)
        rows = [_cells(columns, {**done, **(done.get("reallocation") or {})}) for done in rounds]
        last = {"round": rounds[-1]["round"], "round/valid_perplexity": rounds[-1]["valid_perplexity"]}
        for logger in _loggers(trainer):
            logger.log_metrics(last, step=trainer.global_step)
            logger.show_table("figures/rounds", columns, rows, trainer.global_step)
            logger.show_picture("figures/perplexity", self.path.read_bytes(), trainer.global_step)

    def _show_table(self, trainer: pl.Trainer, allocation: WordAllocation) -> None:
        if allocation.num_components == 1:
            return
        kept = {number: self.record.folder.round_table(number) for number in range(1, self._round + 1)}
        tables = {number: TableSnapshot.load(path).codes for number, path in kept.items() if path.is_file()}
        codes, sides, title = tables[self._round], allocation.sides, f"{self.name}, round {self._round}"
        counts = grid(self.record.vocabulary.counts, codes, sides)
        moves = grid(arrivals(tables), codes, sides)
        for name, png in (
            ("table/frequency", draw_frequency(counts, title)),
            ("table/moved", draw_moves(moves, self._round, title)),
        ):
            for logger in _loggers(trainer):
                logger.show_picture(name, png, trainer.global_step)
        self._show_words(trainer, allocation)

    def _show_words(self, trainer: pl.Trainer, allocation: WordAllocation) -> None:
        if allocation.num_components == 1:
            return
        words, counts = self.record.vocabulary.words, self.record.vocabulary.counts
        rows = [
            (name, line["code"], line["share"], " ".join(line["words"]))
            for axis, name in enumerate(code_names(allocation.num_components))
            for line in typical_codes(allocation, words, counts, axis, _CODES, _WORDS)
        ]
        for logger in _loggers(trainer):
            columns = ("axis", "code", "share of the text", "words")
            logger.show_table("table/typical_words", columns, rows, trainer.global_step)


def arrivals(tables: Mapping[int, Int[np.ndarray, "V k"]]) -> Int[np.ndarray, " V"]:
    """The round in which each word came to the cell that it has in the last of ``tables``, as far as is known.

    Args:
        tables: Number of a round -> its table, in order; the folder may lack the first ones.
    """
    since = np.full(len(next(iter(tables.values()))), min(tables))
    for (_, before), (number, after) in itertools.pairwise(tables.items()):
        since[(before != after).any(1)] = number
    return since


def _loggers(trainer: pl.Trainer) -> list[PictureLogger]:
    """Those of this process that show pictures."""
    return [logger for logger in trainer.loggers if isinstance(logger, PictureLogger)] if trainer.is_global_zero else []


def _cells(columns: Sequence[str], facts: dict[str, Any]) -> list[Cell]:
    return [facts.get(column) for column in columns]
