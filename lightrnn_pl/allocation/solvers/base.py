"""What every solver of the reallocation problem promises: an assignment, and how far it can be from the best one.

Does not know where the costs come from nor what the words are.
"""

from __future__ import annotations

import abc
import os
import time
from pathlib import Path

import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem, ReallocationResult

GIB = 2**30


class Solver(abc.ABC):
    """Solves reallocation problems; a subclass finds codes and a bound, this class times and checks them."""

    def solve(self, problem: ReallocationProblem) -> ReallocationResult:
        """The assignment, its cost and the proof; the problem's own codes where what was found is no cheaper.

        Raises:
            ValueError: If no assignment avoids the forbidden codes, or if the solver cannot take the problem on,
                with the solver that can.
        """
        start = time.perf_counter()
        codes, lower_bound = self._assign(problem)
        if problem.codes is not None and problem.cost(problem.codes) <= problem.cost(codes):
            codes = problem.codes  # moving words costs training; nothing is moved that does not pay
        result = problem.result(codes, lower_bound, time.perf_counter() - start)
        if np.isinf(result.cost):
            raise ValueError(
                f"{type(self).__name__} found no assignment that avoids every forbidden code (+inf); allow more "
                "codes, or try solver=exact, which finds one where there is one"
            )
        return result

    def check(self, num_words: int, sides: tuple[int, ...]) -> None:  # noqa: B027 - most take any size
        """Refuse a problem of this size before hours are spent on getting there.

        Raises:
            ValueError: If the solver could not take it on, for its memory or for a package that is missing.
        """

    @abc.abstractmethod
    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        """Codes, one available cell a word, and a proven lower bound on the cost of any assignment."""


def finite_costs(problem: ReallocationProblem) -> tuple[np.ndarray, ...]:
    """The costs with a finite price on what is forbidden, higher than all else together.

    So a solver can be led out of an assignment that breaks a ban, and finds out at the end that there is no other.
    Codes without an available cell stay as they are; without bans these are the problem's own arrays.
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
    """Bytes that this process can still take: the smaller of the machine's and its control group's."""
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
