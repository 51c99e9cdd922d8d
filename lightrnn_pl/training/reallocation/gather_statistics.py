"""Collection of loss statistics (LightRNN, section 3.2): in a separate pass, or during the last epoch of a round.

A separate pass uses the round's best weights without dropout, so the statistics are exact.  Collecting them during
training, as the paper suggests, saves this pass, because the hidden states are computed anyway.  However, these hidden
states come from a network that changes during the epoch, with dropout on, and from the last epoch of the round, which
need not be its best.
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
    """Empty loss statistics for the current allocation of a model.

    Raises:
        ValueError: If the model has no losses per axis.
    """
    output = model.output
    if not isinstance(output, LinearCodeOutput):
        raise ValueError(
            f"{type(output).__name__} does not support loss statistics, which need an output whose logits are linear "
            "in the hidden state (a LinearCodeOutput); use model/output=multi_component"
        )
    weights, biases = output.axis_parameters()
    return LossStatistics(model.allocation, weights, biases, storage)


def gather_statistics(
    model: LanguageModel, batches: Iterable[Batch], device: torch.device, storage: Storage = "auto"
) -> LossStatistics:
    """Loss statistics of this rank: one pass over ``batches`` without dropout, with the current codes as inputs."""
    statistics = empty_statistics(model, storage)
    for hidden, targets, mask in hidden_states(model, batches, device):
        add_batch(statistics, hidden, targets, mask)
    return statistics


@torch.no_grad()
def add_batch(statistics: LossStatistics, hidden: Hidden, targets: Words, mask: WordMask) -> None:
    """Add the positions of a batch that are not masked out."""
    steps = hidden.detach().unflatten(1, (targets.shape[1], -1))
    statistics.update(targets[mask], steps[mask])
