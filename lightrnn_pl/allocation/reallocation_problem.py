"""The reallocation problem and its answer (LightRNN, equation 6).

Word w pays ``costs[0][w, i] + costs[1][w, j] + ...`` in cell (i, j, ...); every word needs a cell of its own and the
sum shall be small.  The costs are kept apart by axis: the V x V table of equation 6 is never built.  Knows numbers
only, and nothing of where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True, eq=False)
class ReallocationProblem:
    """What each word would cost under each code of each axis.

    Args:
        costs: One array an axis, shape (V, side), float32 or float64 (other real numbers become float64).  ``+inf``
            forbids a code to a word.
        codes: Where the words are now, shape (V, k); None where there is no table yet.
        available: The cells that may hold a word, bool of shape ``sides``; None means all.  More cells than words
            leave some empty, at no cost.

    Attributes:
        floor: Cost if every word had the cheapest code of each axis, ignoring capacities; a lower bound.

    Raises:
        ValueError: Naming the array, the value and the remedy, for costs that are NaN or of the wrong shape, for a
            word without any allowed code, for more words than cells, and for codes that are not one available cell
            a word.
    """

    costs: Sequence[np.ndarray]
    codes: np.ndarray | None = None
    available: np.ndarray | None = None
    floor: float = field(init=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "costs", _checked_costs(self.costs))
        set_field(self, "floor", _checked_floor(self.costs))
        if self.available is not None:
            available = np.asarray(self.available)
            if available.shape != self.sides or available.dtype != np.bool_:
                raise ValueError(
                    f"available must be a bool array of the table's sides {self.sides}, got {available.dtype} of "
                    f"shape {available.shape}"
                )
            set_field(self, "available", available)
        if self.num_cells < self.num_words:
            raise ValueError(
                f"{self.num_words} words do not fit into {self.num_cells} available cells of a table of sides "
                f"{list(self.sides)}; make more cells available or the table larger"
            )
        if self.codes is not None:
            set_field(self, "codes", self._checked_codes(np.asarray(self.codes)))

    @property
    def num_words(self) -> int:
        """V."""
        return len(self.costs[0])

    @property
    def num_components(self) -> int:
        """k."""
        return len(self.costs)

    @property
    def sides(self) -> tuple[int, ...]:
        """Length of each axis of the table."""
        return tuple(cost.shape[1] for cost in self.costs)

    @cached_property
    def cells(self) -> Int[np.ndarray, " cells"]:
        """Numbers of the available cells (rows first), ascending."""
        if self.available is None:
            return np.arange(math.prod(self.sides))
        return np.flatnonzero(self.available)

    @cached_property
    def num_cells(self) -> int:
        """How many cells may hold a word, at least V."""
        return math.prod(self.sides) if self.available is None else int(np.count_nonzero(self.available))

    def cost(self, codes: Int[np.ndarray, "V k"]) -> float:
        """What ``codes`` cost in all, summed in float64."""
        words = np.arange(self.num_words)
        return float(sum(cost[words, codes[:, axis]].sum(dtype=np.float64) for axis, cost in enumerate(self.costs)))

    def capacities(self, axis: int) -> Int[np.ndarray, " side"]:
        """How many words each code of ``axis`` can be given to."""
        codes = np.unravel_index(self.cells, self.sides)[axis]
        return np.bincount(codes, minlength=self.sides[axis])

    def spell(self, cells: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n k"]:
        """Codes of cell numbers."""
        return np.stack(np.unravel_index(cells, self.sides), axis=-1)

    def number(self, codes: Int[np.ndarray, "n k"]) -> Int[np.ndarray, " n"]:
        """Cell numbers of codes."""
        return np.ravel_multi_index(tuple(codes.T), self.sides)

    def result(self, codes: Int[np.ndarray, "V k"], lower_bound: float, seconds: float) -> ReallocationResult:
        """The answer ``codes`` with everything that can be said of it.

        Args:
            codes: One available cell a word.
            lower_bound: A proven bound; the floor takes its place where it is higher.
            seconds: Wall-clock time that the answer took.
        """
        codes = self._checked_codes(codes)
        cost = self.cost(codes)
        lower_bound = min(max(lower_bound, self.floor), cost)
        moved = self.num_words if self.codes is None else int((codes != self.codes).any(axis=1).sum())
        gap = 0.0 if cost <= lower_bound else (cost - lower_bound) / (cost - self.floor)
        return ReallocationResult(codes, cost, lower_bound, gap, moved, seconds)

    def _checked_codes(self, codes: np.ndarray) -> np.ndarray:
        if codes.shape != (self.num_words, self.num_components) or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"codes must be integers of shape {(self.num_words, self.num_components)}, one row a word, got "
                f"{codes.dtype} of shape {codes.shape}"
            )
        outside = ((codes < 0) | (codes >= np.array(self.sides))).any(axis=1)
        if outside.any():
            word = int(outside.argmax())
            raise ValueError(f"word {word} has codes {codes[word].tolist()}, outside a table of {list(self.sides)}")
        codes = codes.astype(np.int64)
        cells = self.number(codes)
        if self.available is not None and not self.available.reshape(-1)[cells].all():
            word = int((~self.available.reshape(-1)[cells]).argmax())
            raise ValueError(
                f"word {word} has codes {codes[word].tolist()}, a cell that is not available; mark it so or move it"
            )
        order = np.argsort(cells, kind="stable")
        shared = cells[order][1:] == cells[order][:-1]
        if shared.any():
            at = int(shared.argmax())
            first, second = order[at], order[at + 1]
            raise ValueError(f"words {first} and {second} share the cell {codes[first].tolist()}; each needs its own")
        return codes


@dataclass(frozen=True, eq=False)
class ReallocationResult:
    """An assignment and how good it is.

    Attributes:
        codes: Where each word goes, int64 of shape (V, k).
        cost: Its cost, in the unit of the problem's costs.
        lower_bound: No assignment costs less; proven.
        gap: (cost - lower_bound) / (cost - floor), 0 where the answer is proven optimal; adding a constant to the
            costs of a word does not change it.
        moved: Words whose codes differ from the problem's; V where it had none.
        seconds: Wall-clock time of the solver.
    """

    codes: np.ndarray
    cost: float
    lower_bound: float
    gap: float
    moved: int
    seconds: float


def _checked_costs(costs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    if not len(costs):
        raise ValueError("costs is empty; give one array of shape (V, side) for each axis of the table")
    checked: list[np.ndarray] = []
    for axis, cost in enumerate(costs):
        cost = np.asarray(cost)
        if cost.ndim != 2 or 0 in cost.shape:
            raise ValueError(f"costs[{axis}] must have the shape (V, side), both at least 1, got {cost.shape}")
        if cost.dtype not in (np.float32, np.float64):
            if cost.dtype.kind not in "biuf":
                raise ValueError(f"costs[{axis}] must be real numbers, got {cost.dtype}")
            cost = cost.astype(np.float64)
        if len(cost) != len(checked[0] if checked else cost):
            raise ValueError(
                f"costs[{axis}] has {len(cost)} words and costs[0] has {len(checked[0])}; every axis needs a row a word"
            )
        checked.append(cost)
    return tuple(checked)


def _checked_floor(costs: Sequence[np.ndarray]) -> float:
    floor = 0.0
    for axis, cost in enumerate(costs):
        # One pass without a temporary of the costs' size: a minimum is NaN or infinite where a word cannot be placed.
        cheapest = cost.min(axis=1)
        if not np.isfinite(cheapest).all():
            word = int((~np.isfinite(cheapest)).argmax())
            if np.isnan(cheapest[word]):
                code = int(np.isnan(cost[word]).argmax())
                raise ValueError(
                    f"costs[{axis}][{word}, {code}] is NaN; look for a division by zero or a diverged model"
                )
            if cheapest[word] < 0:
                raise ValueError(f"costs[{axis}][{word}] holds -inf; only +inf, a forbidden code, has a meaning")
            raise ValueError(f"costs[{axis}][{word}] forbids every code (+inf); leave the word at least one")
        floor += float(cheapest.sum(dtype=np.float64))
    return floor
