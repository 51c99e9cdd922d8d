"""Sums over the processes of a distributed training run.  In a single process they return their input."""

from __future__ import annotations

import torch
from torch import Tensor


def is_distributed() -> bool:
    """Whether this process has joined a group of processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def all_reduce(values: Tensor, device: torch.device | None = None) -> Tensor:
    """The sum of ``values`` over all processes.  Every process must call it.

    Args:
        values: Any shape.  Modified in place if the tensor is on ``device``.
        device: The device to reduce on.  NCCL requires the GPU of the process.
    """
    if not is_distributed():
        return values
    values = values if device is None else values.to(device)
    torch.distributed.all_reduce(values)
    return values
