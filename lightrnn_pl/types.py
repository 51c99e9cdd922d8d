"""Tensor shapes shared by public signatures (jaxtyping).

Axis letters: B batch, T words in a window, S = k * T steps, V vocabulary, R rows, C columns, D embedding size,
H hidden size, K sub-vectors, N any flat count.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Words = Int[Tensor, "B T"]
"""Word ids: row b is one text stream, column t one position."""

WordMask = Bool[Tensor, "B T"]
"""True for words that count toward the loss."""

WordScores = Float[Tensor, "B T"]
"""One number per word, such as its natural-log probability."""

StepVectors = Float[Tensor, "B S D"]
"""Inputs of the recurrent core, k steps per word."""

Hidden = Float[Tensor, "B S H"]
"""Outputs of the recurrent core, k steps per word."""
