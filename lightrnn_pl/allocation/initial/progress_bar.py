"""The progress bar of an initial allocation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Advance: TypeAlias = Callable[[int], None]
"""Reports that a number of words or tokens has been processed."""


def no_progress(count: int) -> None:
    """An ``Advance`` that shows nothing."""


@contextlib.contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Advance]:
    """A progress bar on stderr; ``total`` is None if the amount of work is unknown."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)
        bar.update(task, total=1, completed=1)
