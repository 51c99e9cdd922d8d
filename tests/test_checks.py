"""Checks of configured values and their messages."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from lightrnn_pl.checks import (
    check_count,
    check_counts,
    check_flag,
    check_number,
    check_probability,
    check_ratio,
    check_seed,
)


@pytest.mark.parametrize("value", [0, -4, 2.5, 2.0, "abc", True, None])
def test_rejects_invalid_counts(value):
    with pytest.raises(
        ValueError, match=rf"^model\.hidden_dim must be an integer greater than or equal to 1, got {value}$"
    ):
        check_count("model.hidden_dim", value)


def test_accepts_counts():
    check_count("model.hidden_dim", 1)
    check_count("model.hidden_dim", np.int64(3))
    check_count("schedule.patience", 0, at_least=0)


@pytest.mark.parametrize("value", [1, 1.5, -0.1, float("nan"), "half", None])
def test_rejects_invalid_probabilities(value):
    with pytest.raises(ValueError, match=rf"^model\.dropout must be a probability below 1, got {value}$"):
        check_probability("model.dropout", value)


def test_accepts_probabilities():
    check_probability("model.dropout", 0)
    check_probability("model.dropout", 0.5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, r"key must be a list of integers, such as \[5\], got 5$"),
        ("abc", r"key must be a list of integers, such as \[1, 2\], got abc$"),
        ("12", "must be a list .* got 12$"),
        (True, "must be a list .* got True$"),
        (None, "must be a list .* got None$"),
        ([3, 0], "^every value of key must be an integer greater than or equal to 1, got 0$"),
        ([3, "4"], "^every value of key .* got 4$"),
    ],
)
def test_rejects_invalid_lists_of_counts(value, message):
    with pytest.raises(ValueError, match=message):
        check_counts("key", value)


def test_accepts_lists_of_counts():
    assert check_counts("key", (1, np.int64(2))) == [1, 2]
    assert check_counts("key", OmegaConf.create([3, 4])) == [3, 4]
    assert check_counts("key", []) == []


@pytest.mark.parametrize("value", ["abc", "0.5", True, 0, 0.0, 1.01, -0.1, float("nan"), float("inf"), None])
def test_rejects_invalid_ratios(value):
    with pytest.raises(ValueError, match=rf"^key must be a ratio above 0 and at most 1, got {value}$"):
        check_ratio("key", value)


def test_accepts_ratios():
    for value in (1, 1.0, 1e-9, np.float32(0.5)):
        check_ratio("key", value)


@pytest.mark.parametrize("value", [0, 1, 2, "true", None])
def test_rejects_invalid_flags(value):
    check_flag("key", True)
    check_flag("key", False)
    with pytest.raises(ValueError, match=rf"^key must be true or false, got {value}$"):
        check_flag("key", value)


@pytest.mark.parametrize("value", [-1, 2.5, "abc", True, None, 2**32])
def test_rejects_invalid_seeds(value):
    check_seed("key", 0)
    check_seed("key", 2**32 - 1)
    with pytest.raises(ValueError, match=rf"^key must be .*, got {value}$"):
        check_seed("key", value)


@pytest.mark.parametrize("value", [-0.1, 2.5, "1", True, None, float("nan")])
def test_rejects_numbers_out_of_range(value):
    check_number("key", 0, 0, 2)
    check_number("key", 2.0, 0, 2)
    with pytest.raises(ValueError, match=rf"^key must be a number from 0 to 2 \(hint\), got {value}$"):
        check_number("key", value, 0, 2, hint=" (hint)")


def test_rejects_numbers_that_are_not_finite():
    for value in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match=rf"^key must be a finite number, got {value}$"):
            check_number("key", value)
        with pytest.raises(ValueError, match=rf"^key must be a number greater than or equal to 3, got {value}$"):
            check_number("key", value, at_least=3)
    check_number("key", -1e300)
