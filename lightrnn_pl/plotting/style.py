"""The style of figures: colors, axes and files.

Every figure has this style: those of a report, the plot in a run folder, and the images for TensorBoard and W&B.

A PNG has a white background.  The colors of an SVG are CSS variables with fallback values, so that it follows the theme
of the page and can also be viewed on its own.  Its points show their values on hover.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightrnn_pl.files import atomic_write
from lightrnn_pl.plotting.hover import with_titles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, LINE = "#1d1f24", "#5f636c", "#dcdcd6"
SERIES = ("#2f5bd3", "#d0602a", "#23855a", "#8748c4", "#0f8b9c", "#bd3673", "#8a6a2f", "#6a7180")
"""Colors of curves that color-blind readers can distinguish."""

SCALE = ("#e9eef8", "#b5c8ee", "#7c9ce0", "#4268c4", "#243f8f", "#0f1d4a")
"""Color scale of values from low to high, as in the report's word map."""

WIDTH, _HEIGHT = 5.4, 3.4
"""The size of a figure without its legend in inches; its text is readable if it is displayed 350 pixels wide."""

_DPI = 160
_LINE, _LINE_HEIGHT = 56, 0.2
"""Characters per line of a legend in a figure of the usual width, and the height of a line in inches."""

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
    "legend.fontsize": 9.5,
    "legend.labelcolor": INK,
}


def series_color(number: int) -> str:
    """The color of a curve; colors repeat after the eighth."""
    return SERIES[number % len(SERIES)]


def line_style(number: int) -> str:
    """The line style of a curve: solid, or dashed or dotted if its color is already in use."""
    return ("-", "--", ":", "-.")[number // len(SERIES) % 4]


def hollow(color: str, marker: str = "o") -> dict[str, Any]:
    """The style of a hollow marker, which may surround another one."""
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": 7,
        "markerfacecolor": "none",
        "markeredgecolor": color,
        "markeredgewidth": 1.5,
    }


def whole_numbers(axes: Axes) -> None:
    """Restrict the ticks of the horizontal axis to integers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


@contextmanager
def styled_figure(width: float, height: float, name: str = "", dpi: float = _DPI) -> Iterator[Figure]:
    """A figure of the given size in inches; draw and save it in this context.

    Args:
        width: The width in inches.
        height: The height in inches.
        name: Makes the ids of an SVG reproducible.
        dpi: The resolution of a PNG.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": name}
    with rc_context(style):
        figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def png_of(figure: Figure) -> bytes:
    """The figure as PNG."""
    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor="white")
    return png.getvalue()


@contextmanager
def new_figure(
    path: Path, width: float = WIDTH, height: float = _HEIGHT, suffixes: Sequence[str] = (".png", ".svg")
) -> Iterator[Figure]:
    """Like :func:`styled_figure`; on exit, the figure is written to ``path`` with each of ``suffixes``."""
    with styled_figure(width, height, path.stem) as figure:
        yield figure
        for suffix in suffixes:
            content = png_of(figure) if suffix == ".png" else _svg_of(figure, path.stem).encode()
            with atomic_write(path.with_suffix(suffix)) as file:
                file.write(content)


def _svg_of(figure: Figure, name: str) -> str:
    svg = io.StringIO()
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    return with_titles(themed(svg.getvalue(), name), figure)


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


def legend_below(figure: Figure, axes: Axes) -> None:
    """Add a legend below the plots, and increase the height of the figure by its height; none if nothing has a label.

    It has two columns if its labels are short; long labels are wrapped.
    """
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    width, height = figure.get_size_inches()
    line = int(_LINE * width / WIDTH)
    columns = min(len(labels), 1 if max(map(len, labels)) > line // 2 - 4 else 2)
    labels = [textwrap.fill(label, line) for label in labels]
    num_lines = math.ceil(sum(label.count("\n") + 1 for label in labels) / columns)
    figure.set_size_inches(width, height + _LINE_HEIGHT * num_lines)
    figure.legend(handles, labels, loc="outside lower left", ncols=columns)
