"""Gathering loss statistics (LightRNN, section 3.2): in a pass of its own, or while the last epoch is trained.

The pass asks the model that is about to be changed: its best weights, dropout off, exact.  In training the hidden
states are there anyway, as the paper suggests; but they are those of a network that changes while it is asked, with
dropout on, and of the round's last epoch, which need not be its best.  It saves a pass of forward computation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import hidden_states
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import LinearCodeOutput
from lightrnn_pl.types import Hidden, WordMask, Words

Storage = Literal["auto", "hidden", "scores"]


def empty_statistics(model: LanguageModel, storage: Storage = "auto") -> LossStatistics:
    """Statistics of a model's present table to which nothing has been added.

    Raises:
        ValueError: If the model predicts words in one step.
    """
    output = model.output
    if not isinstance(output, LinearCodeOutput):
        raise ValueError(f"{type(output).__name__} has no row and column losses; use model/output=multi_component")
    weights, biases = output.axis_parameters()
    return LossStatistics(model.allocation, weights, biases, storage)


def gather_statistics(
    model: LanguageModel, batches: Iterable[Batch], device: torch.device, storage: Storage = "auto"
) -> LossStatistics:
    """The loss statistics of one pass over ``batches``, dropout off, the old codes fed; this rank's share only."""
    statistics = empty_statistics(model, storage)
    for hidden, targets, mask in hidden_states(model, batches, device):
        add(statistics, hidden, targets, mask)
    return statistics


@torch.no_grad()
def add(statistics: LossStatistics, hidden: Hidden, targets: Words, mask: WordMask) -> None:
    """Add a batch; positions that the mask leaves out are not counted."""
    steps = hidden.detach().unflatten(1, (targets.shape[1], -1))
    statistics.update(targets[mask], steps[mask])
