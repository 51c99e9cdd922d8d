"""What configured values are refused, and in which words."""

import numpy as np
import pytest

from lightrnn_pl.checks import check_count, check_probability


@pytest.mark.parametrize("value", [0, -4, 2.5, 2.0, "abc", True, None])
def test_refuses_what_is_no_count(value):
    with pytest.raises(ValueError, match=rf"^model\.hidden_dim must be a whole number of at least 1, got {value}$"):
        check_count("model.hidden_dim", value)


def test_accepts_counts():
    check_count("model.hidden_dim", 1)
    check_count("model.hidden_dim", np.int64(3))
    check_count("schedule.patience", 0, at_least=0)


@pytest.mark.parametrize("value", [1, 1.5, -0.1, float("nan"), "half", None])
def test_refuses_what_is_no_probability(value):
    with pytest.raises(ValueError, match=rf"^model\.dropout is a probability below 1, got {value}$"):
        check_probability("model.dropout", value)


def test_accepts_probabilities():
    check_probability("model.dropout", 0)
    check_probability("model.dropout", 0.5)
