"""The style of figures: colors, axes and files.

A figure is written twice: as PNG with a white background, for Markdown, and as SVG.  The colors of the SVG are CSS
variables with fallback values, so that it follows the theme of the page and can also be viewed on its own.
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
"""Colors of curves that color-blind readers can distinguish."""

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


def series_color(number: int) -> str:
    """The color of a curve; colors repeat after the eighth."""
    return SERIES[number % len(SERIES)]


def line_style(number: int) -> str:
    """The line style of a curve: solid, or dashed or dotted if its color is already in use."""
    return ("-", "--", ":", "-.")[number // len(SERIES) % 4]


@contextmanager
def new_figure(path: Path, width: float = 7.2, height: float = 4.2) -> Iterator[Figure]:
    """A figure of the given size in inches; on exit, it is written to ``path`` (PNG) and to an SVG file next to it."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": path.stem}
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        png = io.BytesIO()
        figure.savefig(png, dpi=160, format="png", facecolor="white")
        svg = io.StringIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    with atomic_write(path) as file:
        file.write(png.getvalue())
    with atomic_write(path.with_suffix(".svg"), "w") as file:
        file.write(themed(svg.getvalue(), path.stem))


def themed(svg: str, name: str) -> str:
    """An SVG that can be embedded in a page: its colors are CSS variables, and its ids start with ``name``."""
    svg = svg[svg.index("<svg") :]
    for color, variable in _VARIABLES.items():
        svg = re.sub(re.escape(color), f"var({variable}, {color})", svg, flags=re.IGNORECASE)
    # Use the font of the page.  Matplotlib versions differ in whether the font family has its own property.
    svg = re.sub(r"(font-family: |font: (?:\w+ )*[\d.]+px )[^;\"]*", r"\1var(--sans, sans-serif)", svg)
    svg = re.sub(r'(id="|"#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)


_LONG_LABEL = 40
"""Labels with more characters do not fit into two columns."""


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """Add a legend below the figure; none if no curve has a label."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        if max(map(len, labels)) > _LONG_LABEL:
            columns = 1
        figure.legend(handles, labels, loc="outside lower left", ncols=min(columns, len(labels)))
