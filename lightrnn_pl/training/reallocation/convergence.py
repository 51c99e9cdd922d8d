"""The convergence policy: when a round ends, and when it is the last one."""

from __future__ import annotations

from collections.abc import Sequence

from lightrnn_pl.checks import check_count, check_number
from lightrnn_pl.training.plateau import Plateau

ROUNDING = 1e-6
"""Tolerance for comparing epochs, which are counted in fractions."""


class Convergence:
    """The convergence policy of :class:`~lightrnn_pl.training.reallocation.callback.Reallocation`.

    A round has converged after ``patience`` validations in a row without an improvement, when the learning rate has
    fallen below ``min_learning_rate``, or after ``epochs_per_round`` epochs, whichever comes first.

    Args:
        max_rounds: Maximum number of rounds; there is one reallocation fewer.
        patience: Validations in a row without an improvement that end a round.
        min_gain: Nats per word by which validation must improve to count as an improvement.
        min_learning_rate: A lower learning rate ends a round.
        epochs_per_round: Epochs after which a round ends: one number for all rounds, or a list with one number per
            round, whose last entry applies to all further rounds.  None disables this criterion.
        min_round_gain: Nats per word by which a round must improve on the best earlier round; otherwise, it is the last
            round.  None disables this criterion.
        max_hours: Hours of training after which no new round starts.  None disables this criterion.

    Raises:
        ValueError: Naming the key of a value that is out of range.
    """

    def __init__(
        self,
        max_rounds: int = 4,
        patience: int = 2,
        min_gain: float = 0.0,
        min_learning_rate: float = 0.0,
        epochs_per_round: int | Sequence[int] | None = None,
        min_round_gain: float | None = None,
        max_hours: float | None = None,
    ) -> None:
        check_count("reallocation.max_rounds", max_rounds)
        check_count("reallocation.patience", patience)
        check_number("reallocation.min_gain", min_gain, at_least=0)
        check_number("reallocation.min_learning_rate", min_learning_rate, at_least=0)
        if min_round_gain is not None:
            check_number("reallocation.min_round_gain", min_round_gain)
        if max_hours is not None:
            check_number("reallocation.max_hours", max_hours, at_least=0)
        lengths = [epochs_per_round] if isinstance(epochs_per_round, int) else epochs_per_round
        if lengths is not None and (len(lengths) == 0 or min(lengths) < 1):
            raise ValueError(
                "reallocation.epochs_per_round must be an integer greater than or equal to 1, a list of such "
                f"integers (one per round), or null, got {epochs_per_round}"
            )
        for length in lengths or ():
            check_count("reallocation.epochs_per_round", length)
        self.max_rounds = max_rounds
        self.patience = patience
        self.min_gain = min_gain
        self.min_learning_rate = min_learning_rate
        self.min_round_gain = min_round_gain
        self.max_hours = max_hours
        self._lengths = lengths

    def round_length(self, round: int) -> int | None:
        """The fixed number of epochs of a round, counted from 1; None if it has none."""
        return None if self._lengths is None else self._lengths[min(round, len(self._lengths)) - 1]

    def reason(self, round: int, epochs: float, validation: Plateau, learning_rate: float) -> str | None:
        """Why a round has converged, for the log; None if it has not.

        Args:
            round: The number of the round, counted from 1.
            epochs: Epochs since the round began.
            validation: The validations of the round.
            learning_rate: The learning rate of the next step.
        """
        if validation.stalls >= self.patience:
            return f"no improvement in {validation.stalls} validations"
        if learning_rate < self.min_learning_rate:
            return f"learning rate {learning_rate:.3g} is below {self.min_learning_rate:.3g}"
        length = self.round_length(round)
        if length is not None and epochs > length - ROUNDING:
            return f"{length} epochs"
        return None

    def may_end_after(self, round: int, epochs: float, stalls: int) -> bool:
        """Whether the next validation, after ``epochs`` epochs of the round, can end it."""
        length = self.round_length(round)
        return (
            stalls + 1 >= self.patience
            or self.min_learning_rate > 0  # the schedule sets the learning rate at the validation
            or (length is not None and epochs > length - ROUNDING)
        )

    def is_last(self, best: float, earlier: Sequence[float], seconds: float) -> bool:
        """Whether a converged round is the last one, ``max_rounds`` aside.

        Args:
            best: The best validation loss of the round, in nats per word.
            earlier: The best validation losses of earlier rounds.
            seconds: Training time so far.
        """
        if self.max_hours is not None and seconds > 3600 * self.max_hours:
            return True
        return self.min_round_gain is not None and bool(earlier) and best > min(earlier) - self.min_round_gain
