import numpy as np
import pytest

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem

ROW = np.array([[1.0, 2.0], [3.0, 5.0], [0.0, 0.0]])
COLUMN = np.array([[10.0, 20.0], [30.0, 10.0], [0.0, 40.0]])


def test_cost_and_floor():
    problem = ReallocationProblem((ROW, COLUMN), np.array([[0, 0], [1, 1], [1, 0]]))
    assert problem.num_words == 3
    assert problem.sides == (2, 2)
    assert problem.num_cells == 4
    assert problem.cost(problem.codes) == 11 + 15 + 0
    assert problem.floor == (1 + 10) + (3 + 10) + 0


def test_result():
    problem = ReallocationProblem((ROW, COLUMN), np.array([[0, 0], [1, 1], [1, 0]]))
    result = problem.result(np.array([[0, 0], [0, 1], [1, 0]]), lower_bound=20.0, seconds=0.1)
    assert (result.cost, result.lower_bound, result.moved) == (24.0, 24.0, 1) or result.moved == 1
    assert result.cost == 11 + 13
    assert result.gap == 0, "the cost equals the floor, so the lower bound is raised to the floor"
    worse = problem.result(problem.codes, lower_bound=-np.inf, seconds=0.0)
    assert worse.lower_bound == problem.floor
    assert worse.gap == 1
    assert problem.result(problem.codes, lower_bound=25.0, seconds=0.0).gap == 0.5
    without_codes = ReallocationProblem((ROW, COLUMN))
    assert without_codes.result(problem.codes, 0.0, 0.0).moved == 3


def test_costs_keep_their_precision_or_become_float64():
    single = ROW.astype(np.float32)
    assert ReallocationProblem((single,) * 2).costs[0] is single
    assert ReallocationProblem((np.array([[1, 2]]),)).costs[0].dtype == np.float64


def test_capacities_count_available_cells():
    available = np.array([[True, True], [True, False]])
    problem = ReallocationProblem((ROW, COLUMN), available=available)
    assert problem.capacities(0).tolist() == [2, 1]
    assert problem.cells.tolist() == [0, 1, 2]
    assert problem.cells_of(problem.codes_of(problem.cells)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"costs": ()}, "costs is empty"),
        ({"costs": (np.zeros(3),)}, r"costs\[0\] must have shape"),
        ({"costs": (ROW, np.zeros((3, 0)))}, r"costs\[1\] must have shape"),
        ({"costs": (ROW, COLUMN[:2])}, r"costs\[1\] has 2 words"),
        ({"costs": (ROW, np.where(COLUMN == 10, np.nan, COLUMN))}, r"costs\[1\]\[0, 0\] is NaN"),
        ({"costs": (np.where(ROW == 3, -np.inf, ROW), COLUMN)}, r"costs\[0\]\[1\] contains -inf"),
        ({"costs": (np.full((3, 2), np.inf), COLUMN)}, r"costs\[0\]\[0\] forbids every code"),
        ({"costs": (np.array([["a"]]),)}, "real numbers"),
        ({"costs": (ROW, np.zeros((3, 1)))}, "do not fit into 2 available cells"),
        ({"available": np.array([[True, False], [True, False]])}, "do not fit into 2 available cells"),
        ({"available": np.ones((2, 3), bool)}, "available must be a bool array"),
        ({"available": np.ones((2, 2))}, "available must be a bool array"),
        ({"codes": np.array([[0, 0], [0, 0], [1, 1]])}, r"words 0 and 1 share the cell \[0, 0\]"),
        ({"codes": np.array([[0, 0], [0, 2], [1, 1]])}, "word 1 has codes .* outside"),
        ({"codes": np.array([[0, 0], [0, 1]])}, "codes must be integers of shape"),
        ({"codes": np.array([[0.0, 0], [0, 1], [1, 0]])}, "codes must be integers of shape"),
        (
            {
                "codes": np.array([[0, 0], [0, 1], [1, 1]]),
                "available": np.array([[True, True], [True, False]]),
            },
            "word 2 .* not available",
        ),
    ],
)
def test_invalid_arguments_are_rejected(changes, message):
    arguments = {"costs": (ROW, COLUMN), **changes}
    with pytest.raises(ValueError, match=message):
        ReallocationProblem(**arguments)


def test_forbidden_codes_are_allowed():
    row = ROW.copy()
    row[0, 0] = np.inf
    assert np.isfinite(ReallocationProblem((row, COLUMN)).floor)
