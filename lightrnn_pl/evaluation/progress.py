"""Progress displays of commands that read a text, and of steps whose length is not known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], console: Console, unit: str = "lines") -> Iterator[Item]:
    """The same items, with a progress display if the console is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} " + unit), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(unit, total=None)
        for item in items:
            yield item
            progress.advance(task)


@contextmanager
def activity(description: str) -> Iterator[None]:
    """Show a description and the elapsed time on standard error while the block runs, if it is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(description, total=None)
        yield
