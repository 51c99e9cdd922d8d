"""Collection of loss statistics (LightRNN, section 3.2): in a separate pass, or during training.

A separate pass uses the round's best weights without dropout, so the statistics are exact.  Collecting them during
training saves this pass, because the hidden states are computed anyway.  Their window is the training between the last
two validations of the round: an epoch by default, or less with ``trainer.val_check_interval``.  The sums are scaled to
an epoch, and a word that does not occur in the window costs nothing under any code.  The hidden states come from a
network that changes during the window, with dropout on, and from the end of the round rather than its best validation.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Literal

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
    # With one step per word, the same hidden state predicts all codes.
    statistics.update(targets[mask], steps[mask].expand(-1, len(statistics.sides), -1))


class TrainingWindow:
    """Loss statistics of this rank, collected from consecutive training batches.

    Sums of logits are those that training computed.  Sums of hidden states are multiplied by the output vectors that
    the model has at the end, although training has changed them since the states were computed.

    Args:
        model: The model that is trained.
        storage: See :class:`~lightrnn_pl.allocation.loss_statistics.LossStatistics`.

    Attributes:
        seconds: Time spent on collecting.
    """

    def __init__(self, model: LanguageModel, storage: Storage = "auto") -> None:
        self.seconds = 0.0
        self._statistics = empty_statistics(model, storage)
        self._batches = 0

    def add(self, hidden: Hidden, targets: Words, mask: WordMask) -> None:
        """Add a batch; an observer of :class:`~lightrnn_pl.training.module.LanguageModelingModule`."""
        started = time.monotonic()
        add_batch(self._statistics, hidden, targets, mask)
        self._batches += 1
        self.seconds += time.monotonic() - started

    def scaled_to(self, batches: int) -> LossStatistics:
        """The statistics, scaled to a text of ``batches`` batches.  Ends the window.

        If the window has as many batches, they are not changed.
        """
        self._statistics.scale(batches / self._batches)
        return self._statistics

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"statistics": self._statistics.state_dict(), "batches": self._batches, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self._statistics.load_state_dict(state_dict["statistics"])
        self._batches, self.seconds = state_dict["batches"], state_dict["seconds"]
