"""Bertsekas's auction algorithm for separable costs: near-optimal, with a proven bound, without the V x V matrix.

Words bid for cells.  An unassigned word takes the cell with the lowest sum of cost and price, and raises its price by
the difference to its second choice plus epsilon.  The previous owner of the cell becomes unassigned.  When all words
are assigned, each is within epsilon of its best cell, so the total cost is within (number of cells) x epsilon of the
optimum.  The Lagrangian dual at the prices,

    sum_w min_ij (a[w, i] + b[w, j] + p[i, j]) - sum_ij p[i, j],

is a lower bound of the optimum.  Epsilon starts small and is divided by a constant after each phase (epsilon scaling;
D. Bertsekas, "The auction algorithm", 1988).  A phase keeps the words that are already within its epsilon.  The
auction replaces the minimum cost flow and the 1/2-approximation of the paper (LightRNN, section 3.2).
"""

from __future__ import annotations

import logging
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import auction_kernels as kernels
from lightrnn_pl.allocation.solvers.base import Solver
from lightrnn_pl.allocation.solvers.folding import fold
from lightrnn_pl.allocation.solvers.transport import largest_magnitude, mean_excess
from lightrnn_pl.checks import check_count, check_number

log = logging.getLogger(__name__)

_FIRST_EPSILON = 0.002
_LAST_EPSILON = 1e-10
"""Epsilon in units of the mean excess of a word's costs over its cheapest codes."""

_SCALING = 5.0
"""The divisor of epsilon after each phase."""

_PARALLEL_BIDS = 256
"""Bids that are computed in parallel at the same prices.  The result does not depend on the number of threads."""

_SEQUENTIAL_BIDS = 4096
"""Bids per call of the sequential kernel."""

_TAIL = 20_000
"""A phase may end with up to one unassigned bidder in so many, if they remain after num_bidders / 2 more bids."""

_MAX_EXACT_COMPLETION = 2000
"""Up to this number of free cells, unassigned words are completed optimally; beyond it, in arbitrary order."""

_LOG_INTERVAL = 10.0
"""Seconds between two lines of the log."""


class AuctionSolver(Solver):
    """Provably within ``gap`` of the optimum; 60,000 words take a few seconds on one core.

    The gap is not guaranteed if the magnitudes of the costs differ by more than the precision of float64, for example
    1e-30 and 1e30, because smaller costs are then lost in sums.  The result contains the gap that was proven, and a
    warning is logged if it is larger than ``gap``.

    More than two axes are folded into two, which takes one float32 for each word and each combination of codes.  If
    interrupted (Ctrl-C) or stopped by the time limit, the solver returns the best allocation so far with its bound.

    Args:
        gap: Stop when (cost - lower bound) / (cost - floor) is at most this value.
        time_limit: Stop after this time in seconds; None means no limit.
        num_threads: Number of threads; None means one per available core, at most 8.
        warm_start: Start from the prices of the previous problem if its table had the same cells.  The result then
            depends on the previous problems, which a resumed run does not solve again.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        gap: float = 1e-3,
        time_limit: float | None = None,
        num_threads: int | None = None,
        warm_start: bool = False,
    ) -> None:
        check_number("solver.gap", gap, 0)
        if time_limit is not None and time_limit <= 0:
            raise ValueError(f"solver.time_limit must be above 0 seconds, or null for no limit, got {time_limit}")
        if time_limit is not None:
            check_number("solver.time_limit", time_limit)
        if num_threads is not None:
            check_count("solver.num_threads", num_threads)
        self.gap = gap
        self.time_limit = time_limit
        self.num_threads = num_threads or min(8, len(os.sched_getaffinity(0)))
        self.warm_start = warm_start
        self._last_prices: np.ndarray | None = None

    def _assign(self, problem: ReallocationProblem) -> tuple[Int[np.ndarray, "V k"], float]:
        with ThreadPoolExecutor(self.num_threads) as pool:
            auction = _Auction(problem, pool, self.num_threads, self._last_prices if self.warm_start else None)
            deadline = math.inf if self.time_limit is None else time.perf_counter() + self.time_limit
            try:
                self._run(auction, deadline)
            except KeyboardInterrupt:
                log.warning("Auction interrupted; using the best allocation so far.")
            auction.finish()
        if self.warm_start:
            self._last_prices = auction.prices
        return auction.best_codes, auction.lower_bound

    def _run(self, auction: _Auction, deadline: float) -> None:
        last = max(_LAST_EPSILON * auction.excess, auction.resolution)
        epsilon = max(_FIRST_EPSILON * auction.excess, last)
        if auction.is_warm:
            auction.release(epsilon)
            if auction.gap() <= self.gap:
                return
        while auction.phase(epsilon, deadline):
            is_last = epsilon <= last
            epsilon = max(epsilon / _SCALING, last)
            auction.release(epsilon)
            gap = auction.gap()
            log.info(
                "Auction: cost %.6g, proven gap %.3g, %d of %d words bid in the next phase.",
                auction.best_cost,
                gap,
                auction.num_waiting,
                auction.num_bidders,
            )
            if gap <= self.gap:
                return
            if is_last:
                log.warning(
                    "Auction: the proven gap %.3g exceeds solver.gap=%g, because the magnitudes of the costs differ so "
                    "much that sums are rounded.",
                    gap,
                    self.gap,
                )
                return
        log.warning("Auction stopped by the time limit; using the best allocation so far.")


class _Auction:
    """The state of an auction: prices, owners, unassigned words, the best complete allocation and the best bound."""

    def __init__(
        self,
        problem: ReallocationProblem,
        pool: ThreadPoolExecutor,
        num_threads: int,
        prices: np.ndarray | None,
    ) -> None:
        self._problem = problem
        self._pool = pool
        self._num_threads = num_threads
        self._a, self._b = fold(problem, "auction")
        self.excess = mean_excess(self._a) + mean_excess(self._b)
        # A smaller epsilon would be lost in the rounding of sums of costs, and the bidding would never end.
        self.resolution = 1e-15 * (largest_magnitude(self._a) + largest_magnitude(self._b)) or 1.0
        self._b_blocks = kernels.block_minima(self._b)
        num_rows, num_columns = self._a.shape[1], self._b.shape[1]
        width = -(-num_columns // kernels.BLOCK) * kernels.BLOCK
        row, column = np.divmod(problem.cells, num_columns)
        self._cells = row * width + column
        """Padded numbers of the available cells."""
        self.prices = np.full((num_rows, width), np.inf)
        self.prices.reshape(-1)[self._cells] = 0.0
        self.is_warm = False
        if prices is not None and np.array_equal(np.isfinite(prices), np.isfinite(self.prices)):
            self.prices = prices.copy()
            self.is_warm = problem.codes is not None
        self._block_prices = kernels.block_minima(self.prices)
        self._row_prices = self._block_prices.min(axis=1)
        self.num_bidders = problem.num_cells
        self._owners = np.full(self.prices.size, -1)
        self._assigned = np.full(self.num_bidders, -1)
        """Padded number of the cell of each bidder, -1 if unassigned."""
        # A stack: the first words of the vocabulary, which are the most frequent ones, bid first.
        self._waiting = np.arange(self.num_bidders)[::-1].copy()
        self.num_waiting = self.num_bidders
        self._changed = np.zeros(self.prices.size, np.int64)
        self._stamp = 0
        self.lower_bound = problem.floor
        self.best_cost = math.inf
        self.best_codes = np.empty((problem.num_words, problem.num_components), np.int64)
        if problem.codes is not None:
            self._update_best(problem.codes)
        if self.is_warm and problem.codes is not None:
            self._assign_start(problem.codes)

    def phase(self, epsilon: float, deadline: float) -> bool:
        """Bid until all words are assigned, or until the last few keep outbidding each other.

        In the latter case, the remaining words are assigned to free cells, and bid again in the next phase.

        Returns:
            False if the deadline was reached first.
        """
        tail_bids = self.num_bidders // 2
        next_log = time.perf_counter() + _LOG_INTERVAL
        while self.num_waiting:
            # A small number of words, or many words that compete for the same cells, bid faster one after the other.
            if self.num_waiting < _PARALLEL_BIDS or self._bid_in_parallel(epsilon) < _PARALLEL_BIDS // 2:
                self.num_waiting = kernels.bid_in_turn(
                    *self._price_arrays, *self._assignment_arrays, self.num_waiting, epsilon, _SEQUENTIAL_BIDS
                )
            if self.num_waiting <= self.num_bidders // _TAIL:
                tail_bids -= _SEQUENTIAL_BIDS
                if tail_bids < 0:
                    break
            now = time.perf_counter()
            if now > deadline:
                return False
            if now > next_log:
                log.info("Auction: %d of %d words are unassigned.", self.num_waiting, self.num_bidders)
                next_log = now + _LOG_INTERVAL
        self._update_best(self._codes(self._complete_assignment()))
        return True

    def release(self, epsilon: float) -> None:
        """Unassign all bidders that are more than ``epsilon`` above their best cell, and improve the bound."""
        best = self._update_bound()
        is_assigned = self._assigned >= 0
        row, column = np.divmod(np.where(is_assigned, self._assigned, self._cells[0]), self.prices.shape[1])
        words = np.arange(self._problem.num_words)
        value = self.prices[row, column]
        value[words] += self._a[words, row[words]]
        value[words] += self._b[words, column[words]]
        released = np.flatnonzero((value > best + epsilon) | ~is_assigned)
        self._owners[self._assigned[released[is_assigned[released]]]] = -1
        self._assigned[released] = -1
        self.num_waiting = len(released)
        self._waiting[: self.num_waiting] = released[::-1]

    def _update_bound(self) -> Float[np.ndarray, " bidders"]:
        """Raise the bound to the dual at the current prices, if it is higher.

        Returns:
            The lowest value of each bidder.
        """
        best = self._find_bids(np.arange(self.num_bidders))[0]
        dual = float(best.sum() - self.prices.reshape(-1)[self._cells].sum())
        self.lower_bound = max(self.lower_bound, dual)
        return best

    def gap(self) -> float:
        """The gap that is proven so far."""
        if self.best_cost <= self.lower_bound:
            return 0.0
        return (self.best_cost - self.lower_bound) / (self.best_cost - self._problem.floor)

    def finish(self) -> None:
        """Complete the allocation and update the bound, if the auction was stopped early."""
        if (self._assigned < 0).any():
            self._update_best(self._codes(self._complete_assignment()))
            self._update_bound()

    @property
    def _price_arrays(self) -> tuple[np.ndarray, ...]:
        return self._a, self._b, self._b_blocks, self.prices, self._block_prices, self._row_prices

    @property
    def _assignment_arrays(self) -> tuple[np.ndarray, ...]:
        return self._owners, self._assigned, self._waiting

    def _bid_in_parallel(self, epsilon: float) -> int:
        """One batch of bids at the same prices.

        Returns:
            The number of accepted bids.
        """
        self._stamp += 1
        self.num_waiting -= _PARALLEL_BIDS
        words = self._waiting[self.num_waiting : self.num_waiting + _PARALLEL_BIDS][::-1].copy()
        best, second, cells = self._find_bids(words)
        self.num_waiting = kernels.accept_bids(
            *self._price_arrays[3:],
            *self._assignment_arrays,
            self.num_waiting,
            words,
            best,
            second,
            cells,
            epsilon,
            self._changed,
            self._stamp,
        )
        return len(np.unique(cells))

    def _find_bids(
        self, words: Int[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """The lowest value, the second lowest value, and the cell of the lowest, of each word, on all threads."""
        best, second = np.empty(len(words)), np.empty(len(words))
        cells = np.empty(len(words), np.int64)
        shares = [np.array_split(array, self._num_threads) for array in (words, best, second, cells)]
        list(self._pool.map(lambda *share: kernels.find_bids(*self._price_arrays, *share), *shares))
        return best, second, cells

    def _assign_start(self, codes: Int[np.ndarray, "V k"]) -> None:
        """Assign all words according to ``codes``."""
        row, column = np.divmod(self._problem.cells_of(codes), self._b.shape[1])
        self._assigned[: self._problem.num_words] = row * self.prices.shape[1] + column
        self._assigned = self._complete_assignment()
        self._owners[self._assigned] = np.arange(self.num_bidders)
        self.num_waiting = 0

    def _complete_assignment(self) -> Int[np.ndarray, " bidders"]:
        """The cells of all bidders, with free cells for those that are unassigned."""
        assigned, unassigned = self._assigned.copy(), np.flatnonzero(self._assigned < 0)
        free = np.setdiff1d(self._cells, assigned)
        words = unassigned[unassigned < self._problem.num_words]
        if len(words) > 0 and len(free) <= _MAX_EXACT_COMPLETION:
            row, column = np.divmod(free, self.prices.shape[1])
            _, chosen = linear_sum_assignment(
                self._a[np.ix_(words, row)].astype(np.float64) + self._b[np.ix_(words, column)]
            )
            assigned[words] = free[chosen]
            unassigned, free = np.setdiff1d(unassigned, words), np.delete(free, chosen)
        assigned[unassigned] = free
        return assigned

    def _codes(self, assigned: Int[np.ndarray, " bidders"]) -> Int[np.ndarray, "V k"]:
        row, column = np.divmod(assigned[: self._problem.num_words], self.prices.shape[1])
        return self._problem.codes_of(row * self._b.shape[1] + column)

    def _update_best(self, codes: Int[np.ndarray, "V k"]) -> None:
        cost = self._problem.cost(codes)
        if cost < self.best_cost or math.isinf(self.best_cost):
            self.best_cost, self.best_codes = cost, codes
