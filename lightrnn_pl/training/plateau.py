"""Detection of a plateau in the validation loss."""

from __future__ import annotations

import math
from typing import Any


class Plateau:
    """Counts validations in a row without an improvement, as ``torch.optim.lr_scheduler.ReduceLROnPlateau`` does.

    Args:
        min_gain: Nats per word by which a validation must improve on the last improvement to count as one.

    Attributes:
        best: The lowest validation loss so far, nats per word; infinite before the first.
        stalls: Validations since the last improvement.
    """

    def __init__(self, min_gain: float = 0.0) -> None:
        self.min_gain = min_gain
        self.reset()

    def reset(self) -> None:
        """Discard all validations."""
        self.best = math.inf
        self.stalls = 0
        self._last_gain = math.inf

    def update(self, nll: float) -> bool:
        """Add a validation of ``nll`` nats per word.

        Returns:
            Whether it is the lowest so far, even if the improvement is smaller than ``min_gain``.
        """
        if nll < self._last_gain - self.min_gain:
            self._last_gain, self.stalls = nll, 0
        else:
            self.stalls += 1
        is_best = nll < self.best
        self.best = min(self.best, nll)
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"best": self.best, "stalls": self.stalls, "last_gain": self._last_gain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self.best, self.stalls, self._last_gain = state["best"], state["stalls"], state["last_gain"]
