"""The contract of solvers of the reallocation problem: an assignment, and a proven lower bound of the optimal cost."""

from __future__ import annotations

import abc
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult
from lightrnn_pl.allocation.solvers.forbidden_codes import MAX_PAIRS, without_forbidden_codes
from lightrnn_pl.allocation.stopwatch import Stopwatch

GIB = 2**30


class Solver(abc.ABC):
    """Abstract: subclasses compute codes and a lower bound, and this class validates and measures them.

    Attributes:
        action: What a run does at the end of a round, for the log.
    """

    action: ClassVar[str] = "reallocating"

    def solve(self, problem: ReallocationProblem) -> ReallocationResult:
        """Solve the problem; the result has the problem's own codes if the solver finds nothing cheaper.

        Raises:
            ValueError: If no assignment avoids the forbidden codes, or if the problem is too large for this solver.
                For more than ``forbidden_codes.MAX_PAIRS`` pairs of words and cells, only ``exact`` and ``mcmf`` are
                guaranteed to find an assignment that avoids them.
        """
        with Stopwatch() as stopwatch:
            codes, lower_bound = self._assign(problem)
            codes = without_forbidden_codes(problem, codes)
            if problem.codes is not None and problem.cost(problem.codes) <= problem.cost(codes):
                codes = problem.codes  # after a reallocation, training has to adapt; keep the codes if there is no gain
            result = problem.result(codes, lower_bound, stopwatch.seconds)
        if np.isinf(result.cost):
            raise ValueError(
                f"{type(self).__name__} found no assignment that avoids all forbidden codes (+inf), which is "
                f"guaranteed only for up to {MAX_PAIRS:,} pairs of words and cells, but there are "
                f"{problem.num_words * problem.num_cells:,}; allow more codes, or use solver=exact, which finds an "
                "assignment if one exists"
            )
        return replace(result, solver=type(self.choose(problem)).__name__)

    def choose(self, problem: ReallocationProblem) -> Solver:
        """The solver that solves ``problem``; another one only for solvers that select among several."""
        return self

    def check(self, num_words: int, sides: tuple[int, ...]) -> None:  # noqa: B027 - most solvers accept any size
        """Check before training that the solver can handle problems of this size.

        Raises:
            ValueError: If the solver would need too much memory.
        """

    @abc.abstractmethod
    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        """Codes (a distinct available cell for each word), and a proven lower bound on the cost of any assignment."""


def finite_costs(problem: ReallocationProblem) -> tuple[np.ndarray, ...]:
    """The costs with a finite penalty instead of +inf for forbidden codes, larger than all other costs together.

    A solver can then start from an assignment with forbidden codes, and still avoids them if possible.  The costs of
    codes without available cells are unchanged.  Without forbidden codes, the problem's own arrays are returned.
    """
    used = [problem.capacities(axis) > 0 for axis in range(problem.num_components)]
    costs = zip(problem.costs, used, strict=True)
    if not any(np.isposinf(cost.max(axis=0)[codes]).any() for cost, codes in costs):
        return tuple(problem.costs)
    allowed = [np.where(np.isfinite(cost), cost, cost.min(axis=1, keepdims=True)) for cost in problem.costs]
    ranges = sum(float((cost.max(axis=1) - cost.min(axis=1)).sum(dtype=np.float64)) for cost in allowed)
    return tuple(
        np.where(np.isfinite(cost), cost.astype(np.float64), other.max() + ranges + 1)
        for cost, other in zip(problem.costs, allowed, strict=True)
    )


def free_memory() -> int:
    """Memory in bytes that this process can still allocate: the minimum over the machine and its control group."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in fields:
            limits.append(int(fields["MemAvailable"].split()[0]) * 1024)
    group = Path("/sys/fs/cgroup")
    if (group / "memory.max").exists() and (limit := (group / "memory.max").read_text().strip()) != "max":
        limits.append(int(limit) - int((group / "memory.current").read_text()))
    return max(0, min(limits))
