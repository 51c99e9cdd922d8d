"""Progress of long computations in the log, where a progress bar does not fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_INTERVAL = 5.0
"""Seconds between two lines of the log."""


def with_log(items: Iterable[Item], report: Callable[[int], None]) -> Iterator[Item]:
    """The same items; every few seconds, ``report`` is called with the number of items that have been processed."""
    latest = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - latest > _INTERVAL:
            latest = time.monotonic()
            report(number)
        yield item
