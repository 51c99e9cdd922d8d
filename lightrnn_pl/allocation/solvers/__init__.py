"""Solvers of the reallocation problem; each has a file in ``conf/solver``."""

from lightrnn_pl.allocation.solvers.alternating import AlternatingSolver
from lightrnn_pl.allocation.solvers.auction import AuctionSolver
from lightrnn_pl.allocation.solvers.base import Solver
from lightrnn_pl.allocation.solvers.exact import ExactSolver
from lightrnn_pl.allocation.solvers.keep import KeepSolver

__all__ = ["AlternatingSolver", "AuctionSolver", "ExactSolver", "KeepSolver", "Solver"]
