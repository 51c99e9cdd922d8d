"""Values that are shown on hover."""

from xml.etree import ElementTree

from lightrnn_pl.plotting.hover import add_titles
from lightrnn_pl.plotting.style import new_figure

SVG = "{http://www.w3.org/2000/svg}"


def circles_of(path) -> list[tuple[float, float, str]]:
    root = ElementTree.parse(path.with_suffix(".svg")).getroot()
    return [
        (float(circle.get("cx")), float(circle.get("cy")), circle.findtext(f"{SVG}title"))
        for circle in root.iter(f"{SVG}circle")
        if circle.get("class") == "value"
    ]


def test_titles_are_at_the_markers_of_their_points(tmp_path):
    x, y = [1, 2, 4], [100.0, 10.0, 55.0]
    with new_figure(tmp_path / "a.png", 5, 3) as figure:
        _, axes = figure.subplots(2)
        axes.set_yscale("log")
        axes.plot(x, y, marker="o", gid="curve")
        add_titles(axes, zip(x, y, ["one", "two", "three <&>"], strict=True))
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    (curve,) = [group for group in root.iter(f"{SVG}g") if group.get("id") == "a-curve"]
    markers = [(float(use.get("x")), float(use.get("y"))) for use in curve.iter(f"{SVG}use")]
    circles = circles_of(tmp_path / "a")
    assert [text for *_, text in circles] == ["one", "two", "three <&>"]
    for (cx, cy, _), (marker_x, marker_y) in zip(circles, markers, strict=True):
        assert abs(cx - marker_x) < 0.1 and abs(cy - marker_y) < 0.1


def test_points_outside_the_axes_have_no_title(tmp_path):
    with new_figure(tmp_path / "a.png") as figure:
        axes = figure.add_subplot()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        add_titles(axes, [(0, 0, "corner"), (1, 1, "opposite corner"), (0.5, 1.1, "above"), (-0.1, 0.5, "left")])
    assert [text for *_, text in circles_of(tmp_path / "a")] == ["corner", "opposite corner"]
