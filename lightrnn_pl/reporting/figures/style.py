"""How pictures are drawn: their colours, axes and files.

A picture is written twice: as PNG on white, for Markdown, and as SVG whose colours are CSS variables with a fallback,
so that it follows the theme of the page it is put into and still stands alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightrnn_pl.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, LINE = "#1d1f24", "#5f636c", "#dcdcd6"
SERIES = ("#2f5bd3", "#d0602a", "#23855a", "#8748c4", "#0f8b9c", "#bd3673", "#8a6a2f", "#6a7180")
"""Colours of curves, told apart also by readers who are colour-blind."""

_VARIABLES = {INK: "--ink", FAINT: "--faint", LINE: "--line"} | {
    color: f"--series-{number}" for number, color in enumerate(SERIES, start=1)
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.labelcolor": INK,
}


def color_of(number: int) -> str:
    """The colour of a curve; they repeat after the eighth."""
    return SERIES[number % len(SERIES)]


def line_of(number: int) -> str:
    """How a curve is drawn: solid, and dashed or dotted where its colour is that of an earlier one."""
    return ("-", "--", ":", "-.")[number // len(SERIES) % 4]


@contextmanager
def drawn(path: Path, width: float = 7.2, height: float = 4.2) -> Iterator[Figure]:
    """A figure of so many inches that is written to ``path`` (PNG) and beside it as SVG, both atomically."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": path.stem}
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        content = io.BytesIO()
        figure.savefig(content, dpi=160, format="png", facecolor="white")
        vector = io.StringIO()
        figure.savefig(vector, format="svg", transparent=True, metadata={"Date": None})
    with atomic_write(path) as file:
        file.write(content.getvalue())
    with atomic_write(path.with_suffix(".svg"), "w") as file:
        file.write(themed(vector.getvalue(), path.stem))


def themed(svg: str, name: str) -> str:
    """An SVG to put into a page: colours as CSS variables, ids that no other picture of the page has."""
    svg = svg[svg.index("<svg") :]
    for color, variable in _VARIABLES.items():
        svg = re.sub(re.escape(color), f"var({variable}, {color})", svg, flags=re.IGNORECASE)
    # The page has a font; some versions of matplotlib write the family apart from the size, some together.
    svg = re.sub(r"(font-family: |font: (?:\w+ )*[\d.]+px )[^;\"]*", r"\1var(--sans, sans-serif)", svg)
    svg = re.sub(r'(id="|"#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)


_LONG_NAME = 40
"""Letters of a curve's name that two columns of a legend have no room for."""


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """The curves' names under the picture, where long ones have room; none for a single curve without a name."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        if max(map(len, labels)) > _LONG_NAME:
            columns = 1
        figure.legend(handles, labels, loc="outside lower left", ncols=min(columns, len(labels)))
