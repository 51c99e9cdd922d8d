"""Learning-rate schedules that restart with each round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from typing_extensions import override

from lightrnn_pl.checks import check_count, check_number
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.training.plateau import Plateau
from lightrnn_pl.training.progress import learning_rate


class RoundSchedule(pl.Callback, ABC):
    """Multiplies the initial learning rate of each parameter group by ``factor``, which is set after each validation.

    Args:
        warmup_steps: Training steps at the start of each round over which the learning rate rises linearly to its
            value.  A warm-up reduces the damage that reallocated words do to the trained weights.
    """

    def __init__(self, warmup_steps: int = 0) -> None:
        check_count("schedule.warmup_steps", warmup_steps, at_least=0)
        self.warmup_steps = warmup_steps
        self.factor = 1.0
        self._step = 0  # training steps of this round so far, up to warmup_steps

    @abstractmethod
    def next_factor(self, validation_nll: float) -> float:
        """The factor until the next validation, given the mean negative log-likelihood of the last one."""

    def start_round(self, trainer: pl.Trainer) -> None:
        """Restore the initial learning rate and restart the warm-up."""
        self._step = 0
        self._apply(trainer, self.first_factor())

    def first_factor(self) -> float:
        """The factor before a round's first validation."""
        return 1.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the learning rate until the next validation."""
        if not trainer.sanity_checking:
            self._apply(trainer, self.next_factor(float(trainer.callback_metrics["valid/nll"])))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Warm up, and log the learning rate."""
        if self._step < self.warmup_steps:
            self._step += 1
            self._apply(trainer, self.factor)
        pl_module.log("learning_rate", learning_rate(trainer))

    def _apply(self, trainer: pl.Trainer, factor: float) -> None:
        self.factor = factor
        warmup = self._step / self.warmup_steps if self.warmup_steps else 1.0
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor * warmup

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self._step = state_dict["step"]


class PlateauSchedule(RoundSchedule):
    """Decays the learning rate when validation stops improving (LightRNN, section 4.1, halves it).

    Args:
        decay: Factor by which the learning rate is multiplied.
        patience: Validations without an improvement that are tolerated before a decay.
        min_gain: Nats per word by which validation must improve on its best in this round to count as an improvement.
        warmup_steps: See :class:`RoundSchedule`.
    """

    def __init__(self, decay: float = 0.5, patience: int = 0, min_gain: float = 0.0, warmup_steps: int = 0) -> None:
        super().__init__(warmup_steps)
        _check_decay(decay)
        check_count("schedule.patience", patience, at_least=0)
        check_number("schedule.min_gain", min_gain, at_least=0, hint=", in nats per word")
        self.decay = decay
        self.patience = patience
        self._validation = Plateau(min_gain)

    def start_round(self, trainer: pl.Trainer) -> None:
        """Restore the initial learning rate, restart the warm-up, and reset the best validation."""
        self._validation.reset()
        super().start_round(trainer)

    @override
    def next_factor(self, validation_nll: float) -> float:
        self._validation.update(validation_nll)
        if self._validation.stalls <= self.patience:
            return self.factor
        self._validation.stalls = 0
        return self.factor * self.decay

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {**super().state_dict(), "factor": self.factor, "validation": self._validation.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        super().load_state_dict(state_dict)
        self.factor = state_dict["factor"]
        self._validation.load_state_dict(state_dict["validation"])


class KimSchedule(RoundSchedule):
    """Decays the learning rate after a validation that improves perplexity by less than ``min_gain`` (Kim et al. 2016).

    As in their code (``main.lua``), each validation from the third of a round on is compared with the previous one, not
    with the best, and the gain is a difference of perplexities.

    Args:
        decay: Factor by which the learning rate is multiplied.
        min_gain: Decrease of perplexity since the previous validation, below which the learning rate decays.
        warmup_steps: See :class:`RoundSchedule`.
    """

    def __init__(self, decay: float = 0.5, min_gain: float = 1.0, warmup_steps: int = 0) -> None:
        super().__init__(warmup_steps)
        _check_decay(decay)
        check_number("schedule.min_gain", min_gain, at_least=0, hint=", a difference of perplexities")
        self.decay = decay
        self.min_gain = min_gain
        self._perplexities: list[float] = []  # of this round's validations

    def start_round(self, trainer: pl.Trainer) -> None:
        """Restore the initial learning rate, restart the warm-up, and discard all validations."""
        self._perplexities = []
        super().start_round(trainer)

    @override
    def next_factor(self, validation_nll: float) -> float:
        self._perplexities.append(perplexity(validation_nll))
        if len(self._perplexities) < 3:
            return self.factor
        previous, last = self._perplexities[-2:]
        # A loss that is not a number counts as no improvement.
        return self.factor if previous - last >= self.min_gain else self.factor * self.decay

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {**super().state_dict(), "factor": self.factor, "perplexities": list(self._perplexities)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        super().load_state_dict(state_dict)
        self.factor = state_dict["factor"]
        self._perplexities = list(state_dict["perplexities"])


class StepSchedule(RoundSchedule):
    """A fixed sequence of factors, one for each interval between validations of a round; the last one is repeated.

    Args:
        factors: For example [1, 1, 0.25, 0.0625] to anneal rounds of four epochs.
        warmup_steps: See :class:`RoundSchedule`.
    """

    def __init__(self, factors: Sequence[float], warmup_steps: int = 0) -> None:
        super().__init__(warmup_steps)
        if not factors or any(factor <= 0 for factor in factors):
            raise ValueError(f"schedule.factors must be positive numbers, got {list(factors)}")
        self.factors = [float(factor) for factor in factors]
        self._position = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the first factor, or that of the restored position."""
        self._apply(trainer, self.factors[min(self._position, len(self.factors) - 1)])

    def start_round(self, trainer: pl.Trainer) -> None:
        """Restart with the first factor."""
        self._position = 0
        super().start_round(trainer)

    @override
    def first_factor(self) -> float:
        return self.factors[0]

    @override
    def next_factor(self, validation_nll: float) -> float:
        self._position += 1
        return self.factors[min(self._position, len(self.factors) - 1)]

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {**super().state_dict(), "position": self._position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        super().load_state_dict(state_dict)
        self._position = state_dict["position"]


def _check_decay(decay: float) -> None:
    if not 0 < decay < 1:
        raise ValueError(f"schedule.decay must be between 0 and 1, got {decay}")
