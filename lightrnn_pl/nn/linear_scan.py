"""Linear recurrences over time: h_s = a_s h_(s-1) + b_s for each element.

On a GPU, all steps are computed in log2(S) rounds (Hillis and Steele 1986): after round r, step s contains the
recurrence over the last 2^r steps.  On a CPU, which gains nothing from that, they are computed one after the other.

The gradient of b is the same recurrence in reverse, with the coefficients of the following steps.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def linear_scan(
    coefficients: Float[Tensor, "B S H"], inputs: Float[Tensor, "B S H"], initial: Float[Tensor, "B H"]
) -> Float[Tensor, "B S H"]:
    """h_s for all steps.

    Args:
        coefficients: a_s; between 0 and 1 for a stable recurrence.
        inputs: b_s.
        initial: h before the first step.
    """
    if coefficients.shape[1] == 1:  # incremental decoding; also traceable
        return coefficients * initial[:, None] + inputs
    return _LinearScan.apply(coefficients, inputs, initial)


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        coefficients: Float[Tensor, "B S H"],
        inputs: Float[Tensor, "B S H"],
        initial: Float[Tensor, "B H"],
    ) -> Float[Tensor, "B S H"]:
        inputs = inputs.clone()
        inputs[:, 0].addcmul_(coefficients[:, 0], initial)
        states = scan(coefficients, inputs)
        ctx.save_for_backward(coefficients, states, initial)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "B S H"]) -> tuple[Tensor, Tensor, Tensor]:
        coefficients, states, initial = ctx.saved_tensors
        following = torch.cat([coefficients[:, 1:], torch.zeros_like(coefficients[:, :1])], 1)
        grad_inputs = scan(following.flip(1), gradient.flip(1)).flip(1)
        before = torch.cat([initial[:, None], states[:, :-1]], 1)
        return grad_inputs * before, grad_inputs, grad_inputs[:, 0] * coefficients[:, 0]


def scan(coefficients: Float[Tensor, "B S H"], inputs: Float[Tensor, "B S H"]) -> Float[Tensor, "B S H"]:
    """h_s for all steps, from zero, without autograd."""
    if coefficients.device.type == "cpu":
        return sequential_scan(coefficients, inputs)
    return parallel_scan(coefficients, inputs)


def sequential_scan(coefficients: Float[Tensor, "B S H"], inputs: Float[Tensor, "B S H"]) -> Float[Tensor, "B S H"]:
    """One step after the other."""
    states = torch.empty_like(inputs)
    steps = zip(coefficients.unbind(1), inputs.unbind(1), states.unbind(1), strict=True)
    hidden = torch.zeros_like(inputs[:, 0])
    for coefficient, step, state in steps:
        hidden = torch.addcmul(step, coefficient, hidden, out=state)
    return states


def parallel_scan(coefficients: Float[Tensor, "B S H"], inputs: Float[Tensor, "B S H"]) -> Float[Tensor, "B S H"]:
    """All steps at once, in rounds of doubling distance."""
    distance, length = 1, inputs.shape[1]
    while distance < length:
        rest = inputs[:, distance:] + coefficients[:, distance:] * inputs[:, :-distance]
        inputs = torch.cat([inputs[:, :distance], rest], 1)
        rest = coefficients[:, distance:] * coefficients[:, :-distance]
        coefficients = torch.cat([coefficients[:, :distance], rest], 1)
        distance *= 2
    return inputs
