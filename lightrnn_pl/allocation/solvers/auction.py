"""Bertsekas's auction on separable costs: a near-optimal table and the proof of it, without the V x V matrix.

Words bid for cells.  A waiting word takes the cell that is cheapest to it, cost and price together, and raises its
price by what it would lose by its second choice, plus epsilon; who had the cell waits again.  When all have a cell,
everyone is within epsilon of its cheapest, so the cost is within (number of cells) x epsilon of the optimum, and the
Lagrangian dual at the prices,

    sum_w min_ij (a[w, i] + b[w, j] + p[i, j]) - sum_ij p[i, j],

bounds the optimum from below.  Epsilon starts small and is divided between phases (epsilon scaling; D. Bertsekas,
"The auction algorithm", 1988); a phase keeps the words that already sit within its epsilon.  Replaces the paper's
minimum cost flow and its 1/2-approximation (LightRNN, section 3.2).  Knows nothing of where the costs come from.
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

log = logging.getLogger(__name__)

_FIRST_EPSILON = 0.002
_LAST_EPSILON = 1e-10
_SCALING = 5.0
"""Epsilon in units of a word's mean excess over its cheapest codes, and what it is divided by after a phase."""

_BIDS_AT_ONCE = 256
"""Bids that are found at the same prices, on as many threads as there are; the answer does not depend on those."""

_BIDS_IN_TURN = 4096

_TAIL = 20_000
"""A phase may leave one bidder in so many waiting if half as many bids as there are bidders did not seat them."""

_MAX_SEATED_EXACTLY = 2000
"""So many words without a cell get the best of the free ones; more get any."""

_SECONDS_BETWEEN_LINES = 10.0


class AuctionSolver(Solver):
    """Within ``gap`` of the optimum, proven; 60,000 words take some seconds of one core.

    More than two axes are folded into two groups; that takes a float32 for each word and each pair of codes.
    An interrupt (Ctrl-C) or the time limit ends it early, with the best table so far and its bound.

    Args:
        gap: Stop when (cost - lower bound) / (cost - floor) is at most this.
        time_limit: Seconds after which to stop with what there is; None means no limit.
        num_threads: None means one for each core that this process may use, at most 8.
        warm_start: Begin at the last problem's prices where its table had the same cells.  Then the answer depends
            on what was solved before, which a resumed run does not repeat.
    """

    def __init__(
        self,
        gap: float = 1e-3,
        time_limit: float | None = None,
        num_threads: int | None = None,
        warm_start: bool = False,
    ) -> None:
        if gap < 0:
            raise ValueError(f"solver.gap={gap} is negative; 1e-3 is proven within 0.1 % of the excess")
        if time_limit is not None and time_limit <= 0:
            raise ValueError(f"solver.time_limit={time_limit} leaves no time; give seconds, or null for no limit")
        if num_threads is not None and num_threads < 1:
            raise ValueError(f"solver.num_threads={num_threads}; give at least 1, or null for all cores")
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
                log.warning("Auction interrupted: the best table so far is taken, with its bound.")
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
                "Auction: cost %.6g, proven gap %.3g, %d of %d words bid again.",
                auction.best_cost,
                gap,
                auction.num_waiting,
                auction.num_bidders,
            )
            if gap <= self.gap or is_last:
                return
        log.warning("Auction stopped by its time limit: the best table so far is taken, with its bound.")


class _Auction:
    """The state of one auction: prices, who sits where, who waits, the best complete table and the best bound."""

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
        # A smaller epsilon would vanish in the rounding of a sum of costs, and bids would go on for ever.
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
        self._places = np.full(self.num_bidders, -1)
        # Popped from the end: the first words, in a vocabulary the most frequent, choose first.
        self._waiting = np.arange(self.num_bidders)[::-1].copy()
        self.num_waiting = self.num_bidders
        self._changed = np.zeros(self.prices.size, np.int64)
        self._stamp = 0
        self.lower_bound = problem.floor
        self.best_cost = math.inf
        self.best_codes = np.empty((problem.num_words, problem.num_components), np.int64)
        if problem.codes is not None:
            self._keep_if_better(problem.codes)
        if self.is_warm and problem.codes is not None:
            self._seat_start(problem.codes)

    def phase(self, epsilon: float, deadline: float) -> bool:
        """Bid until all words are assigned, or a few keep outbidding each other; False where the deadline came first.

        Without them the table is completed by seating them where there is room, and they bid in the next phase.
        """
        tail_bids = self.num_bidders // 2
        next_line = time.perf_counter() + _SECONDS_BETWEEN_LINES
        while self.num_waiting:
            # Few waiting words, or many after the same cells, bid faster in turn.
            if self.num_waiting < _BIDS_AT_ONCE or self._bid_at_once(epsilon) < _BIDS_AT_ONCE // 2:
                self.num_waiting = kernels.bid_in_turn(
                    *self._bidding, *self._seating, self.num_waiting, epsilon, _BIDS_IN_TURN
                )
            if self.num_waiting <= self.num_bidders // _TAIL:
                tail_bids -= _BIDS_IN_TURN
                if tail_bids < 0:
                    break
            now = time.perf_counter()
            if now > deadline:
                return False
            if now > next_line:
                log.info("Auction: %d of %d words wait.", self.num_waiting, self.num_bidders)
                next_line = now + _SECONDS_BETWEEN_LINES
        self._keep_if_better(self._codes(self._completed()))
        return True

    def release(self, epsilon: float) -> None:
        """Make everyone wait who is more than ``epsilon`` above the cheapest; improve the bound on the way."""
        best = self._raise_bound()
        seated = self._places >= 0
        row, column = np.divmod(np.where(seated, self._places, self._cells[0]), self.prices.shape[1])
        words = np.arange(self._problem.num_words)
        value = self.prices[row, column]
        value[words] += self._a[words, row[words]]
        value[words] += self._b[words, column[words]]
        leaving = np.flatnonzero((value > best + epsilon) | ~seated)
        self._owners[self._places[leaving[seated[leaving]]]] = -1
        self._places[leaving] = -1
        self.num_waiting = len(leaving)
        self._waiting[: self.num_waiting] = leaving[::-1]

    def _raise_bound(self) -> Float[np.ndarray, " bidders"]:
        """Take the dual at the present prices for a bound if it is higher; each bidder's least value."""
        best = self._find_bids(np.arange(self.num_bidders))[0]
        dual = float(best.sum() - self.prices.reshape(-1)[self._cells].sum())
        self.lower_bound = max(self.lower_bound, dual)
        return best

    def gap(self) -> float:
        """What is proven so far."""
        if self.best_cost <= self.lower_bound:
            return 0.0
        return (self.best_cost - self.lower_bound) / (self.best_cost - self._problem.floor)

    def finish(self) -> None:
        """Where the auction was cut off: complete the table, and take the bound of now."""
        if (self._places < 0).any():
            self._keep_if_better(self._codes(self._completed()))
            self._raise_bound()

    @property
    def _bidding(self) -> tuple[np.ndarray, ...]:
        return self._a, self._b, self._b_blocks, self.prices, self._block_prices, self._row_prices

    @property
    def _seating(self) -> tuple[np.ndarray, ...]:
        return self._owners, self._places, self._waiting

    def _bid_at_once(self, epsilon: float) -> int:
        """One round of bids at the same prices; how many of them stood."""
        self._stamp += 1
        self.num_waiting -= _BIDS_AT_ONCE
        words = self._waiting[self.num_waiting : self.num_waiting + _BIDS_AT_ONCE][::-1].copy()
        best, second, cells = self._find_bids(words)
        self.num_waiting = kernels.accept_bids(
            *self._bidding[3:],
            *self._seating,
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
        """Least value, second least and cell of the least for each of ``words``, on all threads."""
        best, second = np.empty(len(words)), np.empty(len(words))
        cells = np.empty(len(words), np.int64)
        shares = [np.array_split(array, self._num_threads) for array in (words, best, second, cells)]
        list(self._pool.map(lambda *share: kernels.find_bids(*self._bidding, *share), *shares))
        return best, second, cells

    def _seat_start(self, codes: Int[np.ndarray, "V k"]) -> None:
        """Everyone where ``codes`` have them, nobody waiting."""
        row, column = np.divmod(self._problem.number(codes), self._b.shape[1])
        self._places[: self._problem.num_words] = row * self.prices.shape[1] + column
        self._places = self._completed()
        self._owners[self._places] = np.arange(self.num_bidders)
        self.num_waiting = 0

    def _completed(self) -> Int[np.ndarray, " bidders"]:
        """Everybody's cell, those without one seated where there is room."""
        places, unseated = self._places.copy(), np.flatnonzero(self._places < 0)
        free = np.setdiff1d(self._cells, places)
        words = unseated[unseated < self._problem.num_words]
        if len(words) > 0 and len(free) <= _MAX_SEATED_EXACTLY:
            row, column = np.divmod(free, self.prices.shape[1])
            _, chosen = linear_sum_assignment(
                self._a[np.ix_(words, row)].astype(np.float64) + self._b[np.ix_(words, column)]
            )
            places[words] = free[chosen]
            unseated, free = np.setdiff1d(unseated, words), np.delete(free, chosen)
        places[unseated] = free
        return places

    def _codes(self, places: Int[np.ndarray, " bidders"]) -> Int[np.ndarray, "V k"]:
        row, column = np.divmod(places[: self._problem.num_words], self.prices.shape[1])
        return self._problem.spell(row * self._b.shape[1] + column)

    def _keep_if_better(self, codes: Int[np.ndarray, "V k"]) -> None:
        cost = self._problem.cost(codes)
        if cost < self.best_cost or math.isinf(self.best_cost):
            self.best_cost, self.best_codes = cost, codes
