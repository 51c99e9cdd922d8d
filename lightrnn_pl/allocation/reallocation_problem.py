"""The reallocation problem and its result (LightRNN, Equation 6).

Word w costs ``costs[0][w, i] + costs[1][w, j] + ...`` in cell (i, j, ...).  Every word needs a cell of its own, and the
total cost is minimized.  The costs are stored per axis, so the V x V matrix of Equation 6 is never built.
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
    """The cost of each word under each code of each axis.

    Args:
        costs: One array of shape (V, side) per axis, float32 or float64 (other real types are converted to float64).
            ``+inf`` forbids a code for a word.
        codes: The current codes of the words, shape (V, k); None if there is no allocation yet.
        available: True for cells that may be used, bool of shape ``sides``; None means all.  If there are more cells
            than words, some stay empty, at no cost.

    Attributes:
        floor: Cost if every word had the cheapest code of each axis, ignoring capacities; a lower bound.

    Raises:
        ValueError: If costs are NaN or have the wrong shape, if a word has no allowed code, if there are more words
            than cells, or if the codes are not a distinct available cell for each word.
    """

    costs: Sequence[np.ndarray]
    codes: np.ndarray | None = None
    available: np.ndarray | None = None
    floor: float = field(init=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "costs", _validate_costs(self.costs))
        set_field(self, "floor", _compute_floor(self.costs))
        if self.available is not None:
            available = np.asarray(self.available)
            if available.shape != self.sides or available.dtype != np.bool_:
                raise ValueError(
                    f"available must be a bool array of shape {self.sides}, the sides of the table, got "
                    f"{available.dtype} of shape {available.shape}"
                )
            set_field(self, "available", available)
        if self.num_cells < self.num_words:
            raise ValueError(
                f"{self.num_words} words do not fit into {self.num_cells} available cells of a table with sides "
                f"{list(self.sides)}; use a larger table, or make more cells available"
            )
        if self.codes is not None:
            set_field(self, "codes", self._validate_codes(np.asarray(self.codes)))

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
        """Numbers of the available cells in row-major order, ascending."""
        if self.available is None:
            return np.arange(math.prod(self.sides))
        return np.flatnonzero(self.available)

    @cached_property
    def num_cells(self) -> int:
        """Number of available cells, at least V."""
        return math.prod(self.sides) if self.available is None else int(np.count_nonzero(self.available))

    def cost(self, codes: Int[np.ndarray, "V k"]) -> float:
        """Total cost of ``codes``, summed in float64."""
        words = np.arange(self.num_words)
        return float(sum(cost[words, codes[:, axis]].sum(dtype=np.float64) for axis, cost in enumerate(self.costs)))

    def capacities(self, axis: int) -> Int[np.ndarray, " side"]:
        """Number of available cells of each code of ``axis``."""
        codes = np.unravel_index(self.cells, self.sides)[axis]
        return np.bincount(codes, minlength=self.sides[axis])

    def codes_of(self, cells: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n k"]:
        """Codes of cell numbers."""
        return np.stack(np.unravel_index(cells, self.sides), axis=-1)

    def cells_of(self, codes: Int[np.ndarray, "n k"]) -> Int[np.ndarray, " n"]:
        """Cell numbers of codes."""
        return np.ravel_multi_index(tuple(codes.T), self.sides)

    def result(self, codes: Int[np.ndarray, "V k"], lower_bound: float, seconds: float) -> ReallocationResult:
        """The result for ``codes``, with cost, gap and number of reallocated words.

        Args:
            codes: A distinct available cell for each word.
            lower_bound: A proven lower bound of the optimum; the floor is used if it is higher.
            seconds: Wall-clock time of the solver.
        """
        codes = self._validate_codes(codes)
        cost = self.cost(codes)
        lower_bound = min(max(lower_bound, self.floor), cost)
        moved = self.num_words if self.codes is None else int((codes != self.codes).any(axis=1).sum())
        gap = 0.0 if cost <= lower_bound else (cost - lower_bound) / (cost - self.floor)
        return ReallocationResult(codes, cost, lower_bound, gap, moved, seconds)

    def _validate_codes(self, codes: np.ndarray) -> np.ndarray:
        if codes.shape != (self.num_words, self.num_components) or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"codes must be integers of shape {(self.num_words, self.num_components)}, one row per word, got "
                f"{codes.dtype} of shape {codes.shape}"
            )
        outside = ((codes < 0) | (codes >= np.array(self.sides))).any(axis=1)
        if outside.any():
            word = int(outside.argmax())
            raise ValueError(
                f"word {word} has codes {codes[word].tolist()}, outside the table with sides {list(self.sides)}"
            )
        codes = codes.astype(np.int64)
        cells = self.cells_of(codes)
        if self.available is not None and not self.available.reshape(-1)[cells].all():
            word = int((~self.available.reshape(-1)[cells]).argmax())
            raise ValueError(
                f"word {word} has codes {codes[word].tolist()}, a cell that is not available; mark the cell as "
                "available or choose another cell"
            )
        order = np.argsort(cells, kind="stable")
        shared = cells[order][1:] == cells[order][:-1]
        if shared.any():
            at = int(shared.argmax())
            first, second = order[at], order[at + 1]
            raise ValueError(
                f"words {first} and {second} share the cell {codes[first].tolist()}; each word needs its own cell"
            )
        return codes


@dataclass(frozen=True, eq=False)
class ReallocationResult:
    """An assignment with its cost and a proven bound.

    Attributes:
        codes: The new codes of the words, int64 of shape (V, k).
        cost: Cost of the assignment, in the unit of the problem's costs.
        lower_bound: A proven lower bound: no assignment costs less.
        gap: (cost - lower_bound) / (cost - floor); 0 if the assignment is proven optimal.  Adding a constant to the
            costs of a word does not change it.
        moved: Number of words whose codes differ from those of the problem; V if the problem has no codes.
        seconds: Wall-clock time of the solver, without that of compiling its kernels.
        solver: The class of the solver that computed it; empty if it is not known.
    """

    codes: np.ndarray
    cost: float
    lower_bound: float
    gap: float
    moved: int
    seconds: float
    solver: str = ""


def _validate_costs(costs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    if not len(costs):
        raise ValueError("costs is empty; pass one array of shape (V, side) for each axis of the table")
    checked: list[np.ndarray] = []
    for axis, cost in enumerate(costs):
        cost = np.asarray(cost)
        if cost.ndim != 2 or 0 in cost.shape:
            raise ValueError(f"costs[{axis}] must have shape (V, side), both at least 1, got {cost.shape}")
        if cost.dtype not in (np.float32, np.float64):
            if cost.dtype.kind not in "biuf":
                raise ValueError(f"costs[{axis}] must be real numbers, got {cost.dtype}")
            cost = cost.astype(np.float64)
        if len(cost) != len(checked[0] if checked else cost):
            raise ValueError(
                f"costs[{axis}] has {len(cost)} words and costs[0] has {len(checked[0])}; every axis needs one row per "
                "word"
            )
        checked.append(cost)
    return tuple(checked)


def _compute_floor(costs: Sequence[np.ndarray]) -> float:
    floor = 0.0
    for axis, cost in enumerate(costs):
        # The minimum is NaN or infinite if a word cannot be assigned: one pass, without a temporary of the costs' size.
        cheapest = cost.min(axis=1)
        if not np.isfinite(cheapest).all():
            word = int((~np.isfinite(cheapest)).argmax())
            if np.isnan(cheapest[word]):
                code = int(np.isnan(cost[word]).argmax())
                raise ValueError(
                    f"costs[{axis}][{word}, {code}] is NaN; check for a division by zero or a diverged model"
                )
            if cheapest[word] < 0:
                raise ValueError(f"costs[{axis}][{word}] contains -inf; only +inf is allowed, which forbids a code")
            raise ValueError(f"costs[{axis}][{word}] forbids every code (+inf); allow the word at least one code")
        floor += float(cheapest.sum(dtype=np.float64))
    return floor
