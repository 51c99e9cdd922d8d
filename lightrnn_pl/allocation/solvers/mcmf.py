"""The paper's minimum cost maximum flow (LightRNN, section 3.2, figure 3), by OR-tools.

A node for each word and each cell, and an arc of capacity 1 for each pair: the optimum, in integers.  Kept to compare
with; ``exact`` gives the same table from a sixth of the memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import Solver
from lightrnn_pl.allocation.solvers.exact import dense_costs, refuse_too_large

_BYTES_PER_ARC = 100
"""The dense costs, the arcs handed over and the solver's own graph and reduced costs."""


class MinCostFlowSolver(Solver):
    """Optimal but for the rounding of costs to integers, which the bound allows for.

    Args:
        memory_limit_gib: Refuse a problem whose arcs need more; None means nine tenths of the free memory.
    """

    def __init__(self, memory_limit_gib: float | None = None) -> None:
        self.memory_limit_gib = memory_limit_gib

    def check(self, num_words: int, sides: tuple[int, ...]) -> None:
        """See :class:`Solver`."""
        _ortools()
        self._refuse_too_large(num_words, num_words, len(sides))

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        self._refuse_too_large(problem.num_words, problem.num_cells, problem.num_components)
        min_cost_flow = _ortools()
        costs = dense_costs(problem)
        least = costs.min(axis=1, keepdims=True)
        costs -= least
        allowed = np.isfinite(costs)
        word, cell = np.nonzero(allowed)
        excess = costs[allowed]
        # Costs of paths stay within 64 bits; beyond 2^53 the rounding would be that of float64 anyway.
        num_nodes = sum(costs.shape)
        scale = min(2.0**61 / (num_nodes + 1), 2.0**53) / max(float(excess.max()), 1e-300) if excess.max() > 0 else 1.0
        flow = min_cost_flow.SimpleMinCostFlow()
        arcs = flow.add_arcs_with_capacity_and_unit_cost(
            word, problem.num_words + cell, np.ones(len(word), np.int64), np.rint(excess * scale).astype(np.int64)
        )
        flow.set_nodes_supplies(np.arange(problem.num_words), np.ones(problem.num_words, np.int64))
        # One more node takes in what cells send on, so that some may stay empty.
        sink = num_nodes
        cells = np.arange(problem.num_cells)
        flow.add_arcs_with_capacity_and_unit_cost(
            problem.num_words + cells,
            np.full(problem.num_cells, sink),
            np.ones(problem.num_cells, np.int64),
            np.zeros(problem.num_cells, np.int64),
        )
        flow.set_node_supply(sink, -problem.num_words)
        if flow.solve() != flow.OPTIMAL:
            raise ValueError(
                "no assignment avoids every forbidden code (+inf); allow some words more codes or more cells"
            )
        used = flow.flows(arcs) > 0
        chosen = np.empty(problem.num_words, np.int64)
        chosen[word[used]] = cell[used]
        rounding = 0.5 * problem.num_words / scale
        return problem.spell(problem.cells[chosen]), flow.optimal_cost() / scale + float(least.sum()) - rounding

    def _refuse_too_large(self, num_words: int, num_cells: int, num_components: int) -> None:
        refuse_too_large(num_words, num_cells, num_components, _BYTES_PER_ARC, self.memory_limit_gib, solver="mcmf")


def _ortools() -> Any:
    try:
        from ortools.graph.python import min_cost_flow
    except ImportError as error:
        raise ValueError(
            "solver=mcmf needs OR-tools: pip install 'lightrnn_pl[solvers]'; solver=exact gives the same table without "
            "it"
        ) from error
    return min_cost_flow
