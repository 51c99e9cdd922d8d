"""Sums over the processes of one training; in a single process they change nothing."""

from __future__ import annotations

import torch
from torch import Tensor


def is_distributed() -> bool:
    """Whether this process has joined a group of processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def all_reduce(values: Tensor, device: torch.device | None = None) -> Tensor:
    """The sum of ``values`` over all processes; each of them must call this.

    Args:
        values: Any shape.  Changed in place if it lies on ``device``.
        device: The device on which to reduce: NCCL needs the GPU of the process.
    """
    if not is_distributed():
        return values
    values = values if device is None else values.to(device)
    torch.distributed.all_reduce(values)
    return values
