"""Checks of configured values.  Each raises a ``ValueError`` that names the key and the value.

The functions at the end format values and errors for messages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from os import PathLike


def check_count(name: str, value: object, at_least: int = 1, at_most: int = 2**31 - 1) -> None:
    """Check that ``value`` is an integer from ``at_least`` to ``at_most``.

    Raises:
        ValueError: Naming the key and its value.
    """
    # bool is a subclass of int, but model.num_layers=true is a mistake.
    if not isinstance(value, Integral) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name} must be an integer greater than or equal to {at_least}, got {value}")
    if int(value) > at_most:
        raise ValueError(f"{name} must be at most {at_most:,}, got {value}")


def check_counts(name: str, values: object) -> list[int]:
    """The values as a list, after checking that they are integers greater than or equal to 1.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{name} must be a list of integers, such as [{_example(values)}], got {values}")
    for value in values:
        check_count(f"every value of {name}", value)
    return [int(value) for value in values]


def check_probability(name: str, value: object) -> None:
    """Check that ``value`` is a probability below 1, such as a dropout rate.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a probability below 1, got {value}")


def check_number(
    name: str, value: object, at_least: float = -math.inf, at_most: float = math.inf, hint: str = ""
) -> None:
    """Check that ``value`` is a finite number from ``at_least`` to ``at_most``.

    Args:
        name: The key.
        value: The configured value.
        at_least: The smallest valid number.
        at_most: The largest valid number.
        hint: Text to add after the range, including its own comma or parentheses.

    Raises:
        ValueError: Naming the key and its value.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not at_least <= float(value) <= at_most:  # type: ignore[arg-type]
        bounds = f"from {at_least:g} to {at_most:g}" if at_most < math.inf else f"greater than or equal to {at_least:g}"
        kind = "a finite number" if at_least == -math.inf else f"a number {bounds}"
        raise ValueError(f"{name} must be {kind}{hint}, got {value}")


def check_numbers(name: str, values: object, at_least: float = -math.inf) -> list[float]:
    """The values as a list, after checking that there is at least one, and that they are finite numbers.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ValueError(f"{name} must be a non-empty list of numbers, such as [0.1, 1], got {values}")
    for value in values:
        check_number(f"every value of {name}", value, at_least)
    return [float(value) for value in values]


def check_ratio(name: str, value: object) -> None:
    """Check that ``value`` is a number above 0 and at most 1.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) <= 1:
        raise ValueError(f"{name} must be a ratio above 0 and at most 1, got {value}")


def check_flag(name: str, value: object) -> None:
    """Check that ``value`` is a bool.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value}")


def check_seed(name: str, value: object) -> None:
    """Check that ``value`` is a valid seed: an integer from 0 to 2^32 - 1.

    Raises:
        ValueError: Naming the key and its value.
    """
    check_count(name, value, at_least=0, at_most=2**32 - 1)


def check_path(name: str, value: object) -> None:
    """Check that ``value`` is the path of a file or folder, which need not exist.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(value, str | PathLike) or not str(value):
        raise ValueError(f"{name} must be a path, got {value!r}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that ``value`` is one of ``choices``.

    Raises:
        ValueError: Naming the key, the choices and the value.
    """
    if value not in choices:
        *first, last = choices
        listed = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"{name} must be {listed}, got {value!r}")


def one_line(error: BaseException) -> str:
    """The message of an exception of another library, in one line of limited length."""
    return shortened(" ".join(str(error).split()) or type(error).__name__, 400)


def shortened(text: str, length: int) -> str:
    """The text, or its beginning and an ellipsis if it is longer than ``length``."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _example(value: object) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return str(value) if is_count else "1, 2"
