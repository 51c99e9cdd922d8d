"""One reallocation: an objective proposes new codes, the table takes them, and what they did is measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Int
from torch import Tensor

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.allocation.solvers import Solver
from lightrnn_pl.checks import check_choice, check_count
from lightrnn_pl.evaluation.perplexity import mean_nll_by_axis
from lightrnn_pl.nn.embeddings import Embedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.reallocation.gather_statistics import Storage
from lightrnn_pl.training.reallocation.metrics import reallocation_metrics
from lightrnn_pl.training.reallocation.objectives import Objective
from lightrnn_pl.training.reallocation.passes import Passes


@dataclass(frozen=True)
class Move:
    """What a reallocation did.

    Attributes:
        metrics: As in ``metrics.json``; see :mod:`~lightrnn_pl.training.reallocation.metrics`.
        codes: The codes before, (V, k).
        word_nll: What each word cost under them in the training text, mean nats, (V,); NaN where it did not occur.
    """

    metrics: dict[str, Any]
    codes: np.ndarray
    word_nll: np.ndarray


class Mover:
    """Moves the words of a model.

    Args:
        solver: Solves the objective's problems.
        objective: Says which problems, and what is promised.
        storage: What the loss statistics add up: ``hidden`` states, ``scores``, or with ``auto`` the narrower.
        inputs: ``keep`` the input vectors of rows and columns as they are, or ``project``: each becomes the mean of the
            vectors that its new members were read as before, weighted by frequency.
        sample_every: One batch in so many is looked at where an objective samples contexts.
        measure: Say what a move really did to the training loss, at the price of one more pass over the text.
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

    def check(self, model: LanguageModel) -> None:
        """Refuse before training what could not be done after it.

        Raises:
            ValueError: If the solver cannot take a table of this size.
        """
        self.solver.check(model.allocation.num_words, model.allocation.sides)

    def move(self, trainer: pl.Trainer, module: LanguageModelingModule, first: LossStatistics | None = None) -> Move:
        """Give the words new codes.

        Args:
            trainer: The running one.
            module: Whose model is changed, in place.
            first: Loss statistics under the present codes, where there are some already.
        """
        model = module.model
        started = time.monotonic()
        passes = Passes(trainer, module, self.solver, self.storage, first, self.sample_every)
        proposal = self.objective.propose(passes)
        old = model.allocation.codes.long()
        new = torch.as_tensor(proposal.codes).to(old.device)
        counts = passes.counts
        model.allocation.assign(new)
        if self.inputs == "project":
            project_inputs(model.embedding, old, new, counts.to(old.device))
        moved = time.monotonic()
        measured = None
        if self.measure:
            measured = mean_nll_by_axis(model, passes.batches(), module.device)
        changed = (old != new).any(1).to(counts.device)
        assert passes.word_nll is not None
        metrics = {
            "solver": type(self.solver).__name__,
            "objective": type(self.objective).__name__,
            **reallocation_metrics(proposal, measured, changed, counts),
            "seconds_statistics": passes.seconds,
            "seconds": moved - started,
            "seconds_measuring": time.monotonic() - moved,
        }
        return Move(metrics, old.cpu().numpy(), passes.word_nll)


@torch.no_grad()
def project_inputs(
    embedding: Embedding, old: Int[Tensor, "V k"], new: Int[Tensor, "V k"], counts: Int[Tensor, " V"]
) -> None:
    """Each code's input vector becomes the mean, weighted by ``counts``, of those that its members had before.

    So a word is read as much like before as a vector shared with its new neighbours can be.  A code without members
    keeps its vector.
    """
    weights = counts.double() + 1e-3  # words that never occurred count a little, so that no member is left out
    for axis, vectors in enumerate(embedding.axis_vectors()):
        if vectors is None:
            continue
        totals = torch.zeros(len(vectors), dtype=torch.float64, device=vectors.device)
        totals.index_add_(0, new[:, axis], weights)
        sums = torch.zeros(vectors.shape, dtype=torch.float64, device=vectors.device)
        sums.index_add_(0, new[:, axis], weights[:, None] * vectors[old[:, axis]].double())
        used = totals > 0
        vectors[used] = (sums[used] / totals[used, None]).to(vectors.dtype)
