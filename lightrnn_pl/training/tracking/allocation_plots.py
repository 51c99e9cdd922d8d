"""Plots of an allocation: a grid of cells, colored by a value of their word as in the report's word map."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from lightrnn_pl.plotting.style import SCALE, png_of, styled_figure

_INCHES = (6.4, 5.6)
_DPI = (110, 220)
"""Resolution of small and of large tables; at 220 dpi, each of 890 x 890 cells (V = 793,471) has its own pixel."""


def grid(
    values: Shaped[np.ndarray, " V"], codes: Int[np.ndarray, "V k"], sides: tuple[int, ...]
) -> Float[np.ndarray, "R C"]:
    """The values of the words, arranged by cell, with NaN in empty cells; three axes are flattened into two."""
    cells = np.full(sides, np.nan)
    cells[tuple(codes.T)] = values
    return cells.reshape(sides[0], -1)


def draw_frequency(cells: Float[np.ndarray, "R C"], title: str) -> bytes:
    """A PNG of an allocation colored by the frequency of its words, on a logarithmic scale.

    Args:
        cells: Counts of the words, from :func:`grid`.
        title: The title of the plot.
    """
    from matplotlib.colors import LogNorm

    # The logarithm of a count of zero is undefined; such words get the lowest color.
    shown = np.maximum(cells, 0.5)
    return _draw(shown, title, "occurrences in the training text", LogNorm(0.5, max(1.0, np.nanmax(shown))))


def draw_reallocations(cells: Float[np.ndarray, "R C"], rounds: int, title: str) -> bytes:
    """A PNG of an allocation colored by the round since which each word has been in its cell.

    Args:
        cells: Rounds, from :func:`grid`; 1 for words that were never reallocated.
        rounds: The number of the last round.
        title: The title of the plot.
    """
    from matplotlib.colors import BoundaryNorm

    norm = BoundaryNorm(np.arange(0.5, rounds + 1), 256)
    return _draw(cells, title, "in its cell since round", norm, ticks=list(range(1, rounds + 1)))


def _draw(cells: Float[np.ndarray, "R C"], title: str, label: str, norm: Any, ticks: list[int] | None = None) -> bytes:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("scale", SCALE)
    # Cells smaller than a pixel would be dropped.
    dpi = int(np.clip(max(cells.shape) / 4, *_DPI))
    with styled_figure(*_INCHES, dpi=dpi) as figure:
        axes = figure.add_subplot()
        axes.grid(False)
        axes.set_facecolor("white")  # empty cells
        image = axes.imshow(cells, cmap=colors, norm=norm, aspect="auto", interpolation="nearest")
        figure.colorbar(image, label=label, ticks=ticks).outline.set_visible(False)
        axes.set(title=title, xlabel="column", ylabel="row")
        return png_of(figure)
