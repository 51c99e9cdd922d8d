"""Refusing configured values, with a message that names the key."""

from __future__ import annotations

from numbers import Integral


def check_count(name: str, value: object, at_least: int = 1) -> None:
    """Refuse what is no whole number of at least ``at_least``.

    Raises:
        ValueError: Naming the key and its value.
    """
    # True is an Integral too, but whoever writes model.num_layers=true means something else.
    if not isinstance(value, Integral) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, got {value}")


def check_probability(name: str, value: object) -> None:
    """Refuse what cannot be the probability of dropping a unit.

    Raises:
        ValueError: Naming the key and its value.
    """
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} is a probability below 1, got {value}")
