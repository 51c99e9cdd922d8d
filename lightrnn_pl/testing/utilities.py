"""Helpers of the contract suites: random allocations, random words, and serialization.

Example::

    from lightrnn_pl.testing.utilities import random_allocation

    allocation = random_allocation(11, (4, 5), seed=0)  # 11 words in random cells of a 4 x 5 table
"""

import io
import math

import torch
from torch import Tensor

from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides


def random_allocation(num_words: int, sides: tuple[int, ...], seed: int = 0) -> WordAllocation:
    """Words in random cells of a table, so that its empty cells are random too."""
    cells = torch.randperm(math.prod(sides), generator=torch.Generator().manual_seed(seed))[:num_words]
    return WordAllocation(torch.stack(torch.unravel_index(cells, sides), -1), sides)


def balanced_allocation(num_words: int, components: int, seed: int = 0) -> WordAllocation:
    """A random allocation in the most balanced table with ``components`` axes."""
    return random_allocation(num_words, balanced_sides(num_words, components), seed)


def random_words(num_words: int, *shape: int, seed: int = 0) -> Tensor:
    """Random word ids of the given shape."""
    return torch.randint(num_words, shape, generator=torch.Generator().manual_seed(seed))


def save_and_load(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict after serialization."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
