"""What differs between the processes of one training, kept in one checkpoint.

Lightning writes the checkpoint of the first process only.  Each process reads streams of its own with dropout of its
own, so hidden states and random generators of all of them go into it, and each takes its own back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.distributed import is_distributed

T = TypeVar("T")


def is_first_rank() -> bool:
    """Whether this process is the one that writes and prints; known before the processes have met."""
    return getattr(rank_zero_only, "rank", 0) == 0


def from_all_ranks(own: T) -> list[T]:
    """What every rank hands in, in the order of the ranks; all ranks must call it."""
    if not is_distributed():
        return [own]
    gathered: list[T | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    return gathered  # type: ignore[return-value]


def for_this_rank(gathered: Sequence[T]) -> T:
    """What this rank had handed in.

    Raises:
        ValueError: If it was gathered from another number of processes.
    """
    world_size = torch.distributed.get_world_size() if is_distributed() else 1
    if len(gathered) != world_size:
        raise ValueError(
            f"the run was cut off with {len(gathered)} processes and cannot go on with {world_size}; resume with the "
            "same trainer.devices and trainer.num_nodes"
        )
    return gathered[torch.distributed.get_rank() if is_distributed() else 0]
