"""The numbers that objectives ask for, from passes over the training text; the same on every rank."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Int

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.allocation.reallocation_problem import ReallocationResult
from lightrnn_pl.allocation.solvers import Solver
from lightrnn_pl.distributed import all_reduce
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.reallocation.candidate_columns import candidate_columns
from lightrnn_pl.training.reallocation.gather_statistics import Storage, gather_statistics
from lightrnn_pl.training.reallocation.input_costs import input_prices


class Passes:
    """See :class:`~lightrnn_pl.training.reallocation.objectives.base.Losses`.

    Args:
        trainer: Whose ranks share the work.
        module: Its module; the model's table is the present one.
        solver: Solves for the first rank.
        storage: Of the loss statistics.
        first: Statistics of the present table that are there already, this rank's share.
        sample_every: One batch in so many is looked at where a sample will do.

    Attributes:
        seconds: What the passes took.
        word_nll: Mean nats of each word under the present codes, (V,); None before statistics were gathered.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        module: LanguageModelingModule,
        solver: Solver,
        storage: Storage = "auto",
        first: LossStatistics | None = None,
        sample_every: int = 10,
    ) -> None:
        self.model = module.model
        self.solver = solver
        self.seconds = 0.0
        self.word_nll: np.ndarray | None = None
        self._trainer = trainer
        self._device = module.device
        self._storage = storage
        self._first = first
        self._sample_every = sample_every
        self._counts: torch.Tensor | None = None

    @property
    def counts(self) -> torch.Tensor:
        """Occurrences of each word in the text that the statistics are of, (V,)."""
        assert self._counts is not None, "known once statistics were gathered"
        return self._counts

    def statistics(self, codes: Int[np.ndarray, "V k"] | None = None) -> LossStatistics:
        """Loss statistics under the present codes, or with others fed."""
        started = time.monotonic()
        if codes is None and self._first is not None:
            found, self._first = self._first, None
        else:
            allocation = self.model.allocation
            present = allocation.codes.clone()
            if codes is not None:
                allocation.assign(torch.as_tensor(codes).to(present.device))
            try:
                found = gather_statistics(self.model, self.batches(), self._device, self._storage)
            finally:
                allocation.assign(present.long())
        found.all_reduce()
        self._counts = found.counts
        if codes is None:
            self.word_nll = found.mean_nll_by_word(self.model.allocation.codes)
        self.seconds += time.monotonic() - started
        return found

    def input_prices(self) -> list[np.ndarray]:
        """What each word loses on the input side for each code of each axis, to first order."""
        started = time.monotonic()
        prices = [
            self._summed(torch.from_numpy(price)) for price in input_prices(self.model, self.batches(), self._device)
        ]
        self.seconds += time.monotonic() - started
        return prices

    def candidate_columns(self, rows: Int[np.ndarray, "V n"]) -> tuple[np.ndarray, np.ndarray]:
        """Column losses with each of ``rows`` fed, on a sample, and its occurrences of each word."""
        started = time.monotonic()
        sums, counts = candidate_columns(self.model, rows, self.batches(), self._sample_every, self._device)
        found = self._summed(sums), self._summed(counts)
        self.seconds += time.monotonic() - started
        return found

    def decide(self, choose: Callable[[], ReallocationResult]) -> ReallocationResult:
        """Chosen by the first rank, for all."""
        chosen = choose() if self._trainer.is_global_zero else None
        return self._trainer.strategy.broadcast(chosen)  # type: ignore[return-value]

    def batches(self) -> Any:
        """The training text, once, this rank's share."""
        return self._trainer.datamodule.statistics_dataloader()  # type: ignore[attr-defined]  # set by Trainer.fit

    def _summed(self, values: torch.Tensor) -> np.ndarray:
        return all_reduce(values, self._device).cpu().numpy()
