"""The minimum cost maximum flow of the paper (LightRNN, section 3.2, Figure 3), solved by OR-Tools.

The graph has one node per word and per cell, and an arc of capacity 1 for each pair.  This solver exists for
comparison: ``exact`` finds the same optimum with a sixth of the memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int
from typing_extensions import override

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers.base import Solver
from lightrnn_pl.allocation.solvers.exact import check_memory, dense_costs

_BYTES_PER_ARC = 100
"""Memory per arc: the dense costs, the arrays of arcs, and the graph and the reduced costs of the solver."""


class MinCostFlowSolver(Solver):
    """Optimal up to the rounding of costs to integers, which the lower bound takes into account.

    Args:
        memory_limit_gib: Largest memory for the arcs in GiB; None means 90% of the available memory.
    """

    def __init__(self, memory_limit_gib: float | None = None) -> None:
        self.memory_limit_gib = memory_limit_gib

    @override
    def check(self, num_words: int, sides: tuple[int, ...]) -> None:
        _import_ortools()
        self._check_memory(num_words, num_words, len(sides))

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        self._check_memory(problem.num_words, problem.num_cells, problem.num_components)
        min_cost_flow = _import_ortools()
        costs = dense_costs(problem)
        lowest = costs.min(axis=1, keepdims=True)
        costs -= lowest
        allowed = np.isfinite(costs)
        word, cell = np.nonzero(allowed)
        excess = costs[allowed]
        # The costs of paths must fit into 64 bits, and float64 cannot represent integers beyond 2^53 exactly.
        num_nodes = sum(costs.shape)
        scale = min(2.0**61 / (num_nodes + 1), 2.0**53) / max(float(excess.max()), 1e-300) if excess.max() > 0 else 1.0
        flow = min_cost_flow.SimpleMinCostFlow()
        arcs = flow.add_arcs_with_capacity_and_unit_cost(
            word, problem.num_words + cell, np.ones(len(word), np.int64), np.rint(excess * scale).astype(np.int64)
        )
        flow.set_nodes_supplies(np.arange(problem.num_words), np.ones(problem.num_words, np.int64))
        # All cells are connected to a sink, so that some of them may stay empty.
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
                "no assignment avoids all forbidden codes (+inf); allow more codes, or make more cells available"
            )
        used = flow.flows(arcs) > 0
        chosen = np.empty(problem.num_words, np.int64)
        chosen[word[used]] = cell[used]
        rounding = 0.5 * problem.num_words / scale
        return problem.codes_of(problem.cells[chosen]), flow.optimal_cost() / scale + float(lowest.sum()) - rounding

    def _check_memory(self, num_words: int, num_cells: int, num_components: int) -> None:
        check_memory(num_words, num_cells, num_components, _BYTES_PER_ARC, self.memory_limit_gib, solver="mcmf")


def _import_ortools() -> Any:
    try:
        from ortools.graph.python import min_cost_flow
    except ImportError as error:
        raise ValueError(
            "solver=mcmf needs OR-Tools: pip install 'lightrnn_pl[solvers]'; solver=exact finds the same optimum "
            "without it"
        ) from error
    return min_cost_flow
