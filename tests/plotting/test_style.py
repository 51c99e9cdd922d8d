"""The style of figures: the colors of the page, and legends."""

import re
from importlib import resources

import pytest

from lightrnn_pl.plotting.style import FAINT, INK, LINE, SCALE, SERIES, WIDTH, legend_below, new_figure
from lightrnn_pl.web import shared_assets


def test_colors_are_those_of_the_light_page():
    page = resources.files("lightrnn_pl.reporting") / "page" / "style.css"
    css = shared_assets()["theme.css"].read_text(encoding="utf-8") + page.read_text(encoding="utf-8")
    light = dict(reversed(re.findall(r"--([\w-]+): ([^;]+);", css)))  # the first definition of each variable
    assert (light["ink"], light["faint"], light["line"]) == (INK, FAINT, LINE)
    assert tuple(light[f"series-{number}"] for number in range(1, len(SERIES) + 1)) == SERIES
    assert tuple(light["scale-frequency"].split(", ")) == SCALE


@pytest.mark.parametrize("width", [WIDTH, 2 * WIDTH])
@pytest.mark.parametrize(("num_labels", "length"), [(1, 5), (3, 20), (12, 24), (5, 60), (4, 250)])
def test_legends_fit_and_leave_the_plot_its_height(width, num_labels, length, tmp_path):
    with new_figure(tmp_path / "a.png", width, 3.0) as figure:
        axes = figure.add_subplot()
        for number in range(num_labels):
            axes.plot([1, 2], label=f"{number} " + "word " * (length // 5))
        legend_below(figure, axes)
        figure.canvas.draw()
        (legend,) = figure.legends
        extent = legend.get_window_extent()
        assert extent.x0 >= 0 and extent.x1 <= figure.bbox.x1 and extent.y0 >= 0
        assert extent.y1 <= axes.get_tightbbox().y0
        assert 2.2 < axes.bbox.height / figure.dpi < 3.2


def test_suffixes_select_the_formats(tmp_path):
    with new_figure(tmp_path / "a.svg", suffixes=[".svg"]) as figure:
        figure.add_subplot()
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]
