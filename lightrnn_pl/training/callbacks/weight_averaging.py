"""Averages of the weights over training steps, which replace the weights in validations and in the bundle.

Lightning's ``WeightAveraging`` restores the trained weights before ``on_validation_end``, where the best bundle is
written and reallocations start, and it also averages the codes of the words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.checks import check_count, check_probability
from lightrnn_pl.training.reallocation.callback import Reallocation


class WeightAveraging(pl.Callback, ABC):
    """Abstract: an average of the weights after each training step of a round.

    It must come after all callbacks that use the model in ``on_validation_end``.  A reallocation continues from the
    averaged weights, and starts a new average.

    Args:
        reallocation: The callback whose rounds are averaged separately.
    """

    def __init__(self, reallocation: Reallocation) -> None:
        self.reallocation = reallocation
        self._average: list[Tensor] = []
        self._trained: list[Tensor] = []  # the trained weights while the average replaces them
        self._count = 0
        self._step = 0
        self._round = 1

    @abstractmethod
    def share(self, count: int) -> float:
        """The share of the newest weights in an average that contains ``count`` weights so far."""

    @property
    def is_active(self) -> bool:
        """Whether weights are averaged at this time."""
        return True

    def observe(self, validation_nll: float) -> None:
        """A validation of this round, in nats per word."""

    def start_round(self) -> None:
        """Discard the average."""
        self._average, self._count = [], 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move an average that was loaded from a checkpoint to the device."""
        self._average = [part.to(pl_module.device) for part in self._average]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Add the weights to the average if they have changed."""
        if trainer.global_step == self._step:  # gradients are accumulated
            return
        self._step = trainer.global_step
        if not self.is_active:
            return
        weights = _weights(pl_module)
        if self._average:
            torch._foreach_lerp_(self._average, weights, self.share(self._count))
        else:
            self._average = [part.clone() for part in weights]
        self._count += 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the weights by their average."""
        self._round = self.reallocation.round
        if self._average and not trainer.sanity_checking:
            self._trained = [part.clone() for part in _weights(pl_module)]
            torch._foreach_copy_(_weights(pl_module), self._average)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the trained weights, unless a new round has started."""
        if trainer.sanity_checking:
            return
        if self.reallocation.round > self._round:
            self.start_round()
        else:
            if self._trained:
                torch._foreach_copy_(_weights(pl_module), self._trained)
            self.observe(float(trainer.callback_metrics["valid/nll"]))
        self._trained = []

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the weights by their average for good."""
        if self._average:
            torch._foreach_copy_(_weights(pl_module), self._average)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"average": [part.cpu() for part in self._average], "count": self._count, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self._average, self._count, self._step = state_dict["average"], state_dict["count"], state_dict["step"]


class ExponentialAveraging(WeightAveraging):
    """The exponential moving average; of the first 1 / (1 - decay) steps, the mean.

    Args:
        reallocation: See :class:`WeightAveraging`.
        decay: Share of the earlier average that is kept at each step.
    """

    def __init__(self, reallocation: Reallocation, decay: float = 0.999) -> None:
        super().__init__(reallocation)
        check_probability("averaging.decay", decay)
        self.decay = decay

    @override
    def share(self, count: int) -> float:
        return max(1 - self.decay, 1 / (count + 1))


class TriggeredAveraging(WeightAveraging):
    """The mean of the weights from when validation stops improving (NT-ASGD; Merity et al. 2018, algorithm 1).

    Args:
        reallocation: See :class:`WeightAveraging`.
        patience: n of the paper: averaging starts after a validation that is worse than the best one more than n
            validations ago.
    """

    def __init__(self, reallocation: Reallocation, patience: int = 5) -> None:
        super().__init__(reallocation)
        check_count("averaging.patience", patience, at_least=0)
        self.patience = patience
        self._is_triggered = False
        self._validations: list[float] = []

    @property
    @override
    def is_active(self) -> bool:
        return self._is_triggered

    @override
    def share(self, count: int) -> float:
        return 1 / (count + 1)

    @override
    def observe(self, validation_nll: float) -> None:
        earlier = self._validations[: len(self._validations) - self.patience]
        self._is_triggered |= bool(earlier) and validation_nll > min(earlier)
        self._validations.append(validation_nll)

    @override
    def start_round(self) -> None:
        super().start_round()
        self._is_triggered, self._validations = False, []

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {**super().state_dict(), "is_triggered": self._is_triggered, "validations": list(self._validations)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        super().load_state_dict(state_dict)
        self._is_triggered, self._validations = state_dict["is_triggered"], list(state_dict["validations"])


def _weights(module: pl.LightningModule) -> list[Tensor]:
    return [parameter.data for parameter in module.parameters()]
