"""Communication between the processes of a distributed training run.  A single process returns its own values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

_LONGEST_COMPUTATION = timedelta(days=7)
"""How long the other processes wait for the first one.  The end of a process ends the wait at once."""


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


def from_first_rank(compute: Callable[[], T]) -> T:
    """The result of ``compute``, which only the first process calls.  Every process must call this function.

    The other processes wait longer than the timeout of collective operations, which is half an hour by default.
    """
    if not is_distributed():
        return compute()
    group = torch.distributed.new_group(backend="gloo", timeout=_LONGEST_COMPUTATION)
    result: list[T | None] = [compute() if torch.distributed.get_rank() == 0 else None]
    torch.distributed.broadcast_object_list(result, src=0, group=group)
    torch.distributed.destroy_process_group(group)
    return result[0]  # type: ignore[return-value]
