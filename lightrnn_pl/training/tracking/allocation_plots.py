"""The word table as a picture: a grid of cells, a colour each."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

_INCHES = (6.4, 5.6)
_DOTS = (110, 220)
"""Dots an inch, of small tables and of large ones: 890 cells a side still have a dot of their own each."""


def grid(
    values: Shaped[np.ndarray, " V"], codes: Int[np.ndarray, "V k"], sides: tuple[int, ...]
) -> Float[np.ndarray, "R C"]:
    """The words' values where their words sit, NaN in empty cells; a cube is unfolded into two axes."""
    cells = np.full(sides, np.nan)
    cells[tuple(codes.T)] = values
    return cells.reshape(sides[0], -1)


def draw_frequency(cells: Float[np.ndarray, "R C"], title: str) -> bytes:
    """A PNG of a table coloured by how often its words occur, the scale logarithmic.

    Args:
        cells: Counts, as :func:`grid` lays them out.
        title: What stands above it.
    """
    from matplotlib.colors import LogNorm

    # Words that never occurred have no logarithm; they get the lowest colour.
    shown = np.maximum(cells, 0.5)
    return _draw(shown, title, "occurrences in the training text", LogNorm(0.5, max(1.0, np.nanmax(shown))))


def draw_moves(cells: Float[np.ndarray, "R C"], rounds: int, title: str) -> bytes:
    """A PNG of a table coloured by the round in which each word came to its cell, 1 where it never moved.

    Args:
        cells: Rounds, as :func:`grid` lays them out.
        rounds: Number of the last round.
        title: What stands above it.
    """
    from matplotlib.colors import BoundaryNorm

    norm = BoundaryNorm(np.arange(0.5, rounds + 1), 256)
    return _draw(cells, title, "in its cell since round", norm, ticks=list(range(1, rounds + 1)))


def _draw(cells: Float[np.ndarray, "R C"], title: str, label: str, norm: Any, ticks: list[int] | None = None) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A cell that is no dot of its own would be dropped, and its word with it.
    dots = int(np.clip(max(cells.shape) / 4, *_DOTS))
    figure = Figure(figsize=_INCHES, dpi=dots, layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("0.9")  # empty cells
    image = axes.imshow(cells, norm=norm, aspect="auto", interpolation="nearest")
    figure.colorbar(image, label=label, ticks=ticks)
    axes.set(title=title, xlabel="column", ylabel="row")
    FigureCanvasAgg(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()
