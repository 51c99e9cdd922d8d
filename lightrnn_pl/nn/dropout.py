"""Dropout that draws its masks several times faster on a CPU than ``torch.nn.Dropout``.

On a CPU, PyTorch draws a floating-point number per element, which takes a fifth of the training time of a small
LightRNN.  Here, each number of the generator provides the random bits of several elements.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

_LEVELS = 2**16
"""Probabilities are multiples of 1 / 65,536; the remaining elements are scaled accordingly, without bias."""


class Dropout(nn.Dropout):
    """Sets elements to zero with probability ``p`` in training, and scales the others by 1 / (1 - p)."""

    @override
    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The same shape."""
        return dropout(input, self.p) if self.training else input


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
