"""A single reallocation: an objective proposes new codes, the model adopts them, and their effect is measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Int, Real
from torch import Tensor

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.allocation.solvers import Solver
from lightrnn_pl.allocation.stopwatch import Stopwatch
from lightrnn_pl.checks import check_choice, check_count
from lightrnn_pl.evaluation.perplexity import mean_nll_by_axis
from lightrnn_pl.nn.embeddings import Embedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.reallocation.gather_statistics import Storage
from lightrnn_pl.training.reallocation.metrics import reallocation_metrics
from lightrnn_pl.training.reallocation.objectives import Objective
from lightrnn_pl.training.reallocation.passes import TrainingPasses


@dataclass(frozen=True)
class Move:
    """The outcome of a reallocation.

    Attributes:
        metrics: See :func:`~lightrnn_pl.training.reallocation.metrics.reallocation_metrics`.
        codes: The codes before the reallocation, (V, k).
        word_nll: The mean loss of each word under these codes in the training text, in nats, (V,); NaN for words that
            did not occur.
    """

    metrics: dict[str, Any]
    codes: np.ndarray
    word_nll: np.ndarray


class Mover:
    """Reallocates the words of a model.

    Args:
        solver: Solves the problems that the objective defines.
        objective: Proposes the new codes and predicts their loss.
        storage: What the loss statistics accumulate: ``hidden`` states, ``scores`` (logits), or ``auto`` for whichever
            is narrower.
        inputs: ``keep`` leaves the input vectors of rows and columns unchanged.  ``project`` sets each to the mean,
            weighted by frequency, of the previous input vectors of its new members.
        sample_every: Objectives that sample contexts use one batch in ``sample_every``.
        measure: Measure the training loss after the reallocation, which takes another pass over the text.
    """

    def __init__(
        self,
        solver: Solver,
        objective: Objective,
        storage: Storage = "auto",
        inputs: Literal["keep", "project"] = "keep",
        sample_every: int = 10,
        measure: bool = True,
    ) -> None:
        check_choice("reallocation.storage", storage, ("auto", "hidden", "scores"))
        check_choice("reallocation.inputs", inputs, ("keep", "project"))
        check_count("reallocation.sample_every", sample_every)
        self.solver = solver
        self.objective = objective
        self.storage = storage
        self.inputs = inputs
        self.sample_every = sample_every
        self.measure = measure

    def check(self, model: LanguageModel, statistics: Literal["pass", "training"]) -> None:
        """Check before training that the objective supports the model, and the solver the size of its allocation.

        Args:
            model: The model.
            statistics: Where loss statistics are collected; see the callback.

        Raises:
            ValueError: If it does not.
        """
        self.objective.check_model(model)
        if statistics == "training" and not self.objective.uses_statistics:
            raise ValueError(
                f"reallocation.statistics=training has no effect, because {type(self.objective).__name__} needs other "
                "losses than those of training; set reallocation.statistics=pass"
            )
        self.objective.check_solver(self.solver, model.allocation.num_words, model.allocation.sides)

    def move(
        self, trainer: pl.Trainer, module: LanguageModelingModule, collected: LossStatistics | None = None
    ) -> Move:
        """Reallocate the words.

        Args:
            trainer: The running trainer.
            module: The module whose model is changed in place.
            collected: Loss statistics under the current codes, if they have been collected already.
        """
        model = module.model
        with Stopwatch() as stopwatch:
            passes = TrainingPasses(trainer, module, self.solver, self.storage, collected, self.sample_every)
            proposal = self.objective.propose(passes)
            old = model.allocation.codes.long()
            new = torch.as_tensor(proposal.codes).to(old.device)
            counts = passes.counts
            model.allocation.assign(new)
            if self.inputs == "project":
                project_inputs(model.embedding, old, new, counts.to(old.device))
            seconds = stopwatch.seconds
        assigned = time.monotonic()
        measured = None
        if self.measure:
            # Statistics of training cover only the batches of trainer.limit_train_batches.
            number = None if collected is None else int(trainer.num_training_batches)
            measured = mean_nll_by_axis(model, islice(passes.batches(), number), module.device)
        changed = (old != new).any(1).to(counts.device)
        assert passes.word_nll is not None
        metrics = {
            "solver": proposal.solution.solver,
            "objective": type(self.objective).__name__,
            **reallocation_metrics(proposal, measured, changed, counts),
            "seconds_statistics": passes.seconds,
            "seconds": seconds,
            "seconds_measuring": time.monotonic() - assigned,
        }
        return Move(metrics, old.cpu().numpy(), passes.word_nll)


@torch.no_grad()
def project_inputs(
    embedding: Embedding, old: Int[Tensor, "V k"], new: Int[Tensor, "V k"], counts: Real[Tensor, " V"]
) -> None:
    """Set the input vector of each code to the mean, weighted by ``counts``, of its members' previous input vectors.

    This keeps the input vector of each word as close to the previous one as sharing permits.  A code without members
    keeps its vector.
    """
    weights = counts.double() + 1e-3  # words that never occurred need a positive weight too
    for axis, vectors in enumerate(embedding.axis_vectors()):
        if vectors is None:
            continue
        totals = torch.zeros(len(vectors), dtype=torch.float64, device=vectors.device)
        totals.index_add_(0, new[:, axis], weights)
        sums = torch.zeros(vectors.shape, dtype=torch.float64, device=vectors.device)
        sums.index_add_(0, new[:, axis], weights[:, None] * vectors[old[:, axis]].double())
        used = totals > 0
        vectors[used] = (sums[used] / totals[used, None]).to(vectors.dtype)
