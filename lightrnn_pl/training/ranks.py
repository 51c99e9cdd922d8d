"""Per-rank state in a single checkpoint.

Lightning saves the state of the first rank only.  Each rank reads its own streams and draws its own dropout, so the
hidden states and random generators of all ranks are gathered into the checkpoint, and each rank restores its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.distributed import is_distributed

T = TypeVar("T")


def is_first_rank() -> bool:
    """Whether this process has rank 0; valid even before the process group is initialized."""
    return getattr(rank_zero_only, "rank", 0) == 0


def gather_from_ranks(own: T) -> list[T]:
    """The values of all ranks, in order; every rank must call it."""
    if not is_distributed():
        return [own]
    gathered: list[T | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    return gathered  # type: ignore[return-value]


def check_equal_on_ranks(fingerprint: str) -> None:
    """Check that all processes train the same model on the same corpus; every rank must call it.

    Raises:
        ValueError: On every rank, if the fingerprints differ.
    """
    fingerprints = gather_from_ranks(fingerprint)
    if len(set(fingerprints)) > 1:
        different = [rank for rank, other in enumerate(fingerprints) if other != fingerprints[0]]
        raise ValueError(
            f"the vocabulary or the tables of shared vectors of the processes {different} differ from those of process "
            "0; all machines must read the same corpus with the same versions of the installed packages"
        )


def select_own_rank(gathered: Sequence[T]) -> T:
    """This rank's entry in a list from :func:`gather_from_ranks`.

    Raises:
        ValueError: If the list was gathered from a different number of processes.
    """
    world_size = torch.distributed.get_world_size() if is_distributed() else 1
    if len(gathered) != world_size:
        raise ValueError(
            f"the run was interrupted with {len(gathered)} processes and cannot resume with {world_size}; use the same "
            "trainer.devices and trainer.num_nodes"
        )
    return gathered[torch.distributed.get_rank() if is_distributed() else 0]
