"""The contract suite of solvers of the reallocation problem.

The suite compares results with the optimum of scipy and with a brute-force search.  Solvers that support forbidden
codes inherit :class:`ForbiddenCodesContract` too.

Example::

    from lightrnn_pl.testing.solver import ForbiddenCodesContract, SolverContract

    class TestMySolver(SolverContract, ForbiddenCodesContract):
        num_components = (1, 2, 3)

        def make_solver(self):
            return MySolver()
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem


def optimum(problem):
    """Cost of the optimal assignment, by scipy on the dense matrix."""
    dense = dense_matrix(problem)
    words, cells = linear_sum_assignment(dense)
    return float(dense[words, cells].sum())


def brute_force(problem):
    """Cost of the optimal assignment, by trying all assignments."""
    dense = dense_matrix(problem)
    words = range(problem.num_words)
    choices = itertools.permutations(range(dense.shape[1]), problem.num_words)
    return min(float(dense[words, list(cells)].sum()) for cells in choices)


def dense_matrix(problem):
    """Cost of every word in every available cell, computed in loops."""
    available = np.ones(problem.sides, bool) if problem.available is None else problem.available
    cells = [tuple(cell) for cell in np.argwhere(available)]
    return np.array(
        [
            [sum(float(cost[word, code]) for cost, code in zip(problem.costs, cell, strict=True)) for cell in cells]
            for word in range(problem.num_words)
        ]
    )


@st.composite
def problems(draw, num_components=2, max_side=4, with_codes=None, max_words=None):
    """Small problems with ties, constant rows, costs of various magnitudes, empty and unavailable cells."""
    sides = tuple(draw(st.integers(1, max_side)) for _ in range(num_components))
    num_cells = draw(st.integers(1, math.prod(sides)))
    num_words = draw(st.integers(1, min(num_cells, max_words or num_cells)))
    cells = draw(st.permutations(range(math.prod(sides))))[:num_cells]
    available = np.zeros(math.prod(sides), bool)
    available[cells] = True
    values = st.integers(-4, 4) | st.floats(-1e3, 1e3, width=32)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    costs = tuple(draw(npst.arrays(dtype, (num_words, side), elements=values)) for side in sides)
    codes = None
    if draw(st.booleans()) if with_codes is None else with_codes:
        codes = np.stack(np.unravel_index(cells[:num_words], sides), -1)
    return ReallocationProblem(costs, codes, available.reshape(sides))


def random_problem(seed, num_words, sides, with_codes=True):
    """Gaussian costs whose standard deviations follow Zipf's law."""
    rng = np.random.default_rng(seed)
    scales = num_words / np.arange(1, num_words + 1)[:, None]
    costs = tuple(scales * rng.normal(size=(num_words, side)) for side in sides)
    cells = rng.permutation(math.prod(sides))[:num_words]
    codes = np.stack(np.unravel_index(cells, sides), -1) if with_codes else None
    return ReallocationProblem(costs, codes)


quick = settings(
    max_examples=60,
    deadline=None,
    # Several classes inherit the same test, which hypothesis reports as an error by default.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)


# The runtime type checker samples random elements of sequences, also while a problem is drawn.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
class SolverContract:
    """Subclasses implement ``make_solver``, and override the attributes if necessary."""

    num_components = (2,)
    """The numbers of axes that the solver supports."""
    needs_codes = False
    """Whether the solver needs the current codes."""

    def make_solver(self):
        """The solver under test."""
        raise NotImplementedError

    def check(self, problem, result):
        """Compare the result with scipy; returns the optimum and the numerical tolerance."""
        best = optimum(problem)
        slack = 1e-5 * (1 + sum(np.abs(cost).max(axis=1).sum() for cost in problem.costs))
        assert result.codes.dtype == np.int64
        cells = np.ravel_multi_index(tuple(result.codes.T), problem.sides)
        assert len(set(cells.tolist())) == problem.num_words == len(result.codes)
        assert problem.available is None or problem.available.reshape(-1)[cells].all()
        assert result.cost == pytest.approx(problem.cost(result.codes))
        assert result.lower_bound <= best + slack
        assert best <= result.cost + slack
        assert 0 <= result.gap <= 1
        if problem.codes is not None:
            assert result.moved == (result.codes != problem.codes).any(1).sum()
        assert result.seconds >= 0
        return best, slack

    @given(st.data())
    @quick
    def test_assignment_and_bound_are_valid(self, data):
        num_components = data.draw(st.sampled_from(self.num_components))
        problem = data.draw(problems(num_components, with_codes=True if self.needs_codes else None))
        self.check(problem, self.make_solver().solve(problem))

    @given(st.data())
    @quick
    def test_solving_again_reallocates_words_only_if_the_cost_decreases(self, data):
        num_components = data.draw(st.sampled_from(self.num_components))
        problem = data.draw(problems(num_components, with_codes=True if self.needs_codes else None))
        first = self.make_solver().solve(problem)
        again = self.make_solver().solve(ReallocationProblem(problem.costs, first.codes, problem.available))
        assert again.cost <= first.cost
        assert again.moved == 0 or again.cost < first.cost
        # The second solution can only gain what the first bound permits.
        assert first.cost - again.cost <= first.cost - first.lower_bound + 1e-5 * (1 + abs(first.cost))

    @given(st.data())
    @quick
    def test_bound_is_below_every_assignment(self, data):
        num_components = data.draw(st.sampled_from(self.num_components))
        problem = data.draw(problems(num_components, 3, True if self.needs_codes else None, max_words=4))
        if problem.num_cells > 7:
            return
        result = self.make_solver().solve(problem)
        slack = 1e-4 * (1 + abs(result.cost))
        assert result.lower_bound <= brute_force(problem) + slack

    def test_adding_a_constant_per_word_changes_only_the_cost(self):
        problem = random_problem(0, 20, (4, 5) if 2 in self.num_components else (20,))
        rng = np.random.default_rng(1)
        shift = rng.normal(size=(20, 1)) * 10
        shifted = ReallocationProblem((problem.costs[0] + shift, *problem.costs[1:]), problem.codes)
        first, second = self.make_solver().solve(problem), self.make_solver().solve(shifted)
        assert second.cost - first.cost == pytest.approx(shift.sum())
        assert second.gap == pytest.approx(first.gap, abs=1e-6)

    @pytest.mark.parametrize("sides", [(1, 1), (1, 5), (5, 1)])
    def test_one_row_or_one_column(self, sides):
        for num_words in {1, math.prod(sides)}:
            problem = random_problem(0, num_words, sides)
            self.check(problem, self.make_solver().solve(problem))

    def test_solving_does_not_modify_the_problem(self):
        problem = random_problem(0, 18, (4, 5))
        before = [array.copy() for array in (*problem.costs, problem.codes)]
        self.make_solver().solve(problem)
        for array, old in zip((*problem.costs, problem.codes), before, strict=True):
            assert np.array_equal(array, old)

    def test_is_deterministic(self):
        problem = random_problem(0, 18, (4, 5))
        first, second = self.make_solver().solve(problem), self.make_solver().solve(problem)
        assert np.array_equal(first.codes, second.codes)


class ForbiddenCodesContract:
    """For solvers that reallocate words: codes with cost +inf are avoided."""

    num_banned = 6
    """Number of words with forbidden rows, and of words with forbidden columns."""

    def test_forbidden_codes_are_avoided(self):
        problem = random_problem(3, 20, (4, 5))
        row, column = problem.costs[0].copy(), problem.costs[1].copy()
        row[: self.num_banned, :2] = np.inf
        column[6 : 6 + self.num_banned, 3:] = np.inf
        forbidden = ReallocationProblem((row, column), problem.codes)
        result = self.make_solver().solve(forbidden)
        assert np.isfinite(result.cost)
        assert result.lower_bound - 1e-6 <= optimum(forbidden) <= result.cost + 1e-6

    def test_infeasible_problems_are_rejected(self):
        row = np.zeros((4, 2))
        row[:3, 1] = np.inf
        with pytest.raises(ValueError, match="forbidden"):
            self.make_solver().solve(ReallocationProblem((row, np.zeros((4, 2)))))
