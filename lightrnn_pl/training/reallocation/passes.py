"""The losses that objectives need, computed in passes over the training text and summed over ranks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Int

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.allocation.reallocation_problem import ReallocationResult
from lightrnn_pl.allocation.solvers import Solver
from lightrnn_pl.data.batches import Batch, Loader
from lightrnn_pl.distributed import all_reduce, from_first_rank
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.progress import with_batch_log
from lightrnn_pl.training.reallocation.candidate_columns import candidate_column_losses
from lightrnn_pl.training.reallocation.gather_statistics import Storage, gather_statistics
from lightrnn_pl.training.reallocation.input_costs import input_costs
from lightrnn_pl.training.reallocation.row_moves import RowMoves, row_moves


class TrainingPasses:
    """Implements :class:`~lightrnn_pl.training.reallocation.objectives.base.LossProvider` for a running trainer.

    Args:
        trainer: The running trainer.
        module: The module whose model is reallocated.
        solver: The solver that objectives use.
        storage: What the loss statistics accumulate; see :class:`~lightrnn_pl.training.reallocation.mover.Mover`.
        collected: This rank's statistics under the current codes, if they have been collected already.
        sample_every: Sample one batch in ``sample_every`` for candidate columns.

    Attributes:
        seconds: Time spent in passes.
        word_nll: The mean loss of each word under the current codes in nats, (V,); None before the first statistics.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        module: LanguageModelingModule,
        solver: Solver,
        storage: Storage = "auto",
        collected: LossStatistics | None = None,
        sample_every: int = 10,
    ) -> None:
        self.model = module.model
        self.solver = solver
        self.seconds = 0.0
        self.word_nll: np.ndarray | None = None
        self._trainer = trainer
        self._device = module.device
        self._storage = storage
        self._collected = collected
        self._sample_every = sample_every
        self._counts: torch.Tensor | None = None

    @property
    def counts(self) -> torch.Tensor:
        """Occurrences of each word in the text of the statistics, (V,)."""
        assert self._counts is not None, "available after the first statistics"
        return self._counts

    def statistics(self, codes: Int[np.ndarray, "V k"] | None = None) -> LossStatistics:
        """Loss statistics of the training text with the current codes as inputs, or with ``codes``."""
        started = time.monotonic()
        if codes is None and self._collected is not None:
            statistics, self._collected = self._collected, None
        else:
            allocation = self.model.allocation
            current = allocation.codes.clone()
            if codes is not None:
                allocation.assign(torch.as_tensor(codes).to(current.device))
            try:
                statistics = gather_statistics(self.model, self.batches(), self._device, self._storage)
            finally:
                allocation.assign(current.long())
        statistics.all_reduce()
        self._counts = statistics.counts
        if codes is None:
            self.word_nll = statistics.mean_nll_by_word(self.model.allocation.codes)
        self.seconds += time.monotonic() - started
        return statistics

    def input_costs(self) -> list[np.ndarray]:
        """The first-order input costs of each word under each code, one array (V, side) per axis."""
        started = time.monotonic()
        costs = [
            self._sum_over_ranks(torch.from_numpy(cost))
            for cost in input_costs(self.model, self.batches(), self._device)
        ]
        self.seconds += time.monotonic() - started
        return costs

    def candidate_columns(self, rows: Int[np.ndarray, "V n"]) -> tuple[np.ndarray, np.ndarray]:
        """Column losses (V, n, C) with each of ``rows`` as input, and the number of sampled occurrences (V,)."""
        started = time.monotonic()
        sums, counts = candidate_column_losses(self.model, rows, self.batches(), self._sample_every, self._device)
        result = self._sum_over_ranks(sums), self._sum_over_ranks(counts)
        self.seconds += time.monotonic() - started
        return result

    def row_moves(self) -> RowMoves:
        """The losses with every word in every row, with logits measured on a sample of contexts."""
        started = time.monotonic()
        moves = row_moves(self.model, self.batches(), self._sample_every, self._device)
        self._counts, self.word_nll = moves.counts, moves.word_nll
        self.seconds += time.monotonic() - started
        return moves

    def on_first_rank(self, solve: Callable[[], ReallocationResult]) -> ReallocationResult:
        """The result of ``solve``, computed by the first rank and broadcast to all."""
        return from_first_rank(solve)

    def batches(self) -> Iterable[Batch]:
        """One pass over this rank's share of the training text."""
        loader = self._trainer.datamodule.statistics_dataloader()  # type: ignore[attr-defined]  # set by Trainer.fit
        return _LoggedBatches(loader)

    def _sum_over_ranks(self, values: torch.Tensor) -> np.ndarray:
        return all_reduce(values, self._device).cpu().numpy()


class _LoggedBatches:
    """Batches whose progress is logged every few seconds, because passes over a long text take long."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Batch]:
        return with_batch_log(self._loader, "Pass over the training text")
