"""Which of many similar cases run with ``make test``; ``make test-all`` runs all of them."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def every(step: int, cases: Iterable[Any], always: Callable[[Any], bool] = lambda case: False) -> list[Any]:
    """Parameters of which the first of every ``step`` run, and those for which ``always`` is true."""
    parameters = []
    for number, case in enumerate(cases):
        marks = [] if number % step == 0 or always(case) else pytest.mark.exhaustive
        parameters.append(pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=marks))
    return parameters
