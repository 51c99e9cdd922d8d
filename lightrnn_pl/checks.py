"""Refusing configured values, with a message that names the key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real


def check_count(name: str, value: object, at_least: int = 1) -> None:
    """Refuse what is no whole number of at least ``at_least``.

    Raises:
        ValueError: Naming the key and its value.
    """
    # True is an Integral too, but whoever writes model.num_layers=true means something else.
    if not isinstance(value, Integral) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, got {value}")


def check_counts(name: str, values: object) -> list[int]:
    """The values as a list; refuse what is no list of whole numbers of at least 1.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{name} must be a list of whole numbers, such as [{_example(values)}], got {values}")
    for value in values:
        check_count(f"each of {name}", value)
    return [int(value) for value in values]


def check_probability(name: str, value: object) -> None:
    """Refuse what cannot be the probability of dropping a unit.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} is a probability below 1, got {value}")


def check_number(name: str, value: object, least: float = -math.inf, most: float = math.inf, hint: str = "") -> None:
    """Refuse what is no finite number from ``least`` to ``most``.

    Args:
        name: The key.
        value: What is configured.
        least: The smallest number that is accepted.
        most: The largest.
        hint: What to say beside the range, with its own comma or brackets.

    Raises:
        ValueError: Naming the key and its value.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= float(value) <= most:  # type: ignore[arg-type]
        bounds = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
        kind = "a finite number" if least == -math.inf else f"a number {bounds}"
        raise ValueError(f"{name} must be {kind}{hint}, got {value}")


def check_ratio(name: str, value: object) -> None:
    """Refuse what is no number above 0 and at most 1.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) <= 1:
        raise ValueError(f"{name} is a ratio above 0 and at most 1, got {value}")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither true nor false.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value}")


def check_seed(name: str, value: object) -> None:
    """Refuse what no generator or hash here can start from: a whole number from 0 to below 2^32.

    Raises:
        ValueError: Naming the key and its value.
    """
    check_count(name, value, at_least=0)
    if isinstance(value, int) and value >= 2**32:
        raise ValueError(f"{name} must be below 2**32, got {value}")


def _example(value: object) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return str(value) if is_count else "1, 2"


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of ``choices``.

    Raises:
        ValueError: Naming the key, the choices and the value.
    """
    if value not in choices:
        raise ValueError(f"{name} is {' or '.join(choices)}, got {value!r}")
