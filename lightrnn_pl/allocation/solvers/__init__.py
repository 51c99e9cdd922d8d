"""Solvers of the reallocation problem, each with a file in ``conf/solver``."""

from lightrnn_pl.allocation.solvers.alternating import AlternatingSolver
from lightrnn_pl.allocation.solvers.auction import AuctionSolver
from lightrnn_pl.allocation.solvers.auto import AutoSolver
from lightrnn_pl.allocation.solvers.base import Solver
from lightrnn_pl.allocation.solvers.exact import ExactSolver
from lightrnn_pl.allocation.solvers.greedy import GreedySolver
from lightrnn_pl.allocation.solvers.keep import KeepSolver
from lightrnn_pl.allocation.solvers.mcmf import MinCostFlowSolver

__all__ = [
    "AlternatingSolver",
    "AuctionSolver",
    "AutoSolver",
    "ExactSolver",
    "GreedySolver",
    "KeepSolver",
    "MinCostFlowSolver",
    "Solver",
]
