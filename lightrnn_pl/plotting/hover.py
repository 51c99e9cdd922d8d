"""Values of points that a browser shows when the pointer is on them: invisible circles with titles in an SVG."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS_PER_INCH = 72
_RADIUS = 7
_ATTRIBUTE = "_points_with_titles"
"""Attribute of a figure with the axes, the position and the text of each point."""


def add_titles(axes: Axes, points: Iterable[tuple[float, float, str]]) -> None:
    """Show a text at each point on hover.

    Args:
        axes: The axes of the points.
        points: Position in data coordinates, and text.
    """
    vars(axes.get_figure()).setdefault(_ATTRIBUTE, []).extend((axes, x, y, text) for x, y, text in points)


def with_titles(svg: str, figure: Figure) -> str:
    """The SVG of ``figure`` with the texts of its points; points outside the axes are omitted."""
    circles = []
    for axes, x, y, text in vars(figure).get(_ATTRIBUTE, ()):
        position = axes.transData.transform((x, y))
        # A margin of half a pixel, because rounding can move a point on the border outside.
        if axes.bbox.padded(0.5).contains(*position):
            left, bottom = figure.dpi_scale_trans.inverted().transform(position)
            top = figure.bbox_inches.height - bottom
            circles.append(
                f'<circle class="value" cx="{_POINTS_PER_INCH * left:.1f}" cy="{_POINTS_PER_INCH * top:.1f}" '
                f'r="{_RADIUS}" fill-opacity="0"><title>{html.escape(text)}</title></circle>\n'
            )
    end = svg.rindex("</svg>")
    return svg[:end] + "".join(circles) + svg[end:]
