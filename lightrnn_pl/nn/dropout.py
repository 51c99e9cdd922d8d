"""Dropout of elements, of words and of weights.

On a CPU, PyTorch draws a floating-point number per element, which takes a fifth of the training time of a small
LightRNN.  Here, each number of the generator provides the random bits of several elements.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.types import StepVectors, Words

_LEVELS = 2**16
"""Probabilities are multiples of 1 / 65,536; the remaining elements are scaled accordingly, without bias."""


class Dropout(nn.Dropout):
    """Sets elements to zero with probability ``p`` in training, and scales the others by 1 / (1 - p).

    Args:
        p: The probability.
        locked: If True, all steps of a window have the same mask (variational dropout, Gal and Ghahramani 2016).
    """

    def __init__(self, p: float = 0.5, locked: bool = False) -> None:
        super().__init__(p)
        self.locked = locked

    @override
    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The same shape; (B, S, D) if the mask is locked."""
        if not self.training:
            return input
        return locked_dropout(input, self.p) if self.locked else dropout(input, self.p)

    @override
    def extra_repr(self) -> str:
        return f"p={self.p}, locked={self.locked}"


def dropout(input: Float[Tensor, "*shape"], probability: float) -> Float[Tensor, "*shape"]:
    """``F.dropout`` in training, with other random numbers on a CPU."""
    if input.device.type != "cpu":
        return F.dropout(input, probability)
    dropped = min(round(probability * _LEVELS), _LEVELS - 1)
    if dropped == 0:
        return input
    bits = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = bits[: input.numel()].view(input.shape) >= dropped - _LEVELS // 2
    return input * kept.to(input.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def locked_dropout(input: Float[Tensor, "B S D"], probability: float) -> Float[Tensor, "B S D"]:
    """Dropout with one mask per stream, for all steps of the window (Gal and Ghahramani 2016, section 4)."""
    return input * dropout(torch.ones_like(input[:, :1]), probability) if probability else input


def word_dropout(vectors: StepVectors, words: Words, targets: Words, num_words: int, probability: float) -> StepVectors:
    """Dropout of whole words: their vectors are zero wherever they occur in the window (Gal and Ghahramani 2016).

    Args:
        vectors: The step vectors of an embedding, k per position, (B, kT, D).
        words: The word that the first step of each position reads, (B, T).
        targets: The word whose codes the other steps read, (B, T).
        num_words: V.
        probability: The probability of a word; the vectors of the others are scaled by 1 / (1 - probability).
    """
    steps = vectors.shape[1] // words.shape[1]
    kept = dropout(vectors.new_ones(num_words), probability)
    read = torch.stack([words] + [targets] * (steps - 1), -1).flatten(1)
    return vectors * kept[read][..., None]
