"""The report page: its file, and its tables and layout in headless Chromium (skipped if it is not installed)."""

import itertools
import re

import pytest

from lightrnn_pl.reporting import page_writer
from lightrnn_pl.reporting.figures import CAPTIONS
from lightrnn_pl.reporting.page_writer import write_page, write_page_from_maps
from lightrnn_pl.reporting.word_map import WordMap
from tests.browsers import needs_chromium
from tests.reporting.browser_pages import css_colors, open_report, search
from tests.serving.models import SCRIPT

playwright = pytest.importorskip("playwright.sync_api", reason="requires Playwright (pip install playwright)")

expect = playwright.expect


def test_the_file_is_self_contained_and_escaped(report):
    text = report.read_text(encoding="utf-8")
    assert "{{" not in text and "import " not in re.sub(r"<style>.*?</style>", "", text, flags=re.S).split("<main>")[0]
    assert not re.search(r'(?:src|href)="(?!#|data:)', text) and "url(http" not in text
    assert "<b>no</b>" not in text and SCRIPT not in text and "All &lt;runs&gt;" in text
    for caption in CAPTIONS.values():
        if caption.title != CAPTIONS["compression"].title and caption.title != CAPTIONS["parts"].title:
            assert (caption.title in text) == (caption.title != CAPTIONS["frontier"].title)


def test_a_report_without_word_tables_has_no_word_map(tmp_path, results):
    path = write_page(tmp_path / "report.html", [], {}, [results])
    text = path.read_text(encoding="utf-8")
    assert 'id="map"' not in text and "new Worker" not in text and 'id="results-0"' in text


def test_word_tables_that_exceed_the_size_limit_are_omitted(tmp_path, rounds, bundle, monkeypatch, caplog):
    words, counts = bundle.vocabulary.words, bundle.vocabulary.counts
    maps = [WordMap(name, words, counts, [(1, rounds[0])]) for name in ("first", "second")]
    monkeypatch.setattr(page_writer, "MAX_BYTES", 10)
    text = write_page_from_maps(tmp_path / "report.html", maps).read_text(encoding="utf-8")
    assert '"first"' in text and '"second"' not in text
    assert "second" in caplog.text and "first" not in caplog.text


@needs_chromium
def test_results_are_escaped_and_sortable(page):
    expect(page.locator("h1")).to_have_text("All <runs>")
    table = page.locator("#results-0 table")
    expect(table.locator("thead th")).to_have_text(["name", "seeds", "test perplexity", "paper’s perplexity"])
    names = table.locator("tbody th")
    expect(names).to_have_text(["NE", f"{SCRIPT}small", "SE 5K"])
    expect(table.locator("tr.elsewhere th")).to_have_text("SE 5K")
    page.get_by_role("button", name="test perplexity").click()
    expect(names).to_have_text([f"{SCRIPT}small", "NE", "SE 5K"])
    page.get_by_role("button", name="test perplexity").click()
    expect(names).to_have_text(["NE", f"{SCRIPT}small", "SE 5K"])  # missing values stay last
    expect(page.locator("#failures-0 td.error")).to_have_text("ValueError: <b>no</b>")
    assert page.title() == "All <runs>" and page.locator("img").count() == 0
    assert page.locator("figure svg:visible").count() == 3


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_themes(browser, report, scheme):
    page = open_report(browser, report, color_scheme=scheme)
    ink, paper = css_colors(page, "ink")[0], css_colors(page, "paper")[0]
    assert (sum(ink) < sum(paper)) == (scheme == "light")
    fill = page.locator("figure svg text").first.evaluate("text => getComputedStyle(text).fill")
    expected = {"light": "rgb(95, 99, 108)", "dark": "rgb(160, 164, 173)"}[scheme]
    assert fill == expected
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    expect(page.locator("#legend")).to_contain_text("50 occurrences")
    assert page.problems == []
    page.context.close()


@needs_chromium
@pytest.mark.parametrize("width", (320, 390, 800, 1280))
def test_fits_the_screen(browser, report, width):
    page = open_report(browser, report, viewport={"width": width, "height": 800})
    search(page, SCRIPT)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.problems == []
    page.context.close()


def figure_boxes(page):
    """The bounding boxes (left, top, right, bottom) of the figures and of their visible plots."""
    return page.evaluate(
        """() => [...document.querySelectorAll("figure")].map((figure) => {
            const svg = [...figure.querySelectorAll("svg")].find((svg) => svg.getBoundingClientRect().width);
            return [figure, svg].map((node) => {
                const { left, top, right, bottom } = node.getBoundingClientRect();
                return [left, top, right, bottom].map(Math.round);
            });
        })"""
    )


@needs_chromium
@pytest.mark.parametrize("num_figures", range(1, 6))
def test_no_space_beside_figures_is_empty(browser, plots, num_figures, tmp_path):
    some = dict(list(plots.items())[:num_figures]) | {"reallocation": plots["reallocation"]}
    page = open_report(browser, write_page(tmp_path / "a.html", [], some))
    for width in (400, 1024, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        boxes = figure_boxes(page)
        left, right = (side(box[column] for box, _ in boxes) for side, column in ((min, 0), (max, 2)))
        for _, row in itertools.groupby(boxes, key=lambda pair: pair[0][1]):
            figures = list(row)
            assert figures[0][0][0] == left and figures[-1][0][2] == right, width
            assert len({plot[1] for _, plot in figures}) == 1, f"the plots of a row are not aligned at {width}"
            assert all(after[0][0] - before[0][2] <= 32 for before, after in itertools.pairwise(figures)), width
        if width == 1280 and num_figures != 1:
            assert all(plot[2] - plot[0] > 0.95 * (box[2] - box[0]) for box, plot in boxes), "a plot is next to a hole"
    page.context.close()


@needs_chromium
@pytest.mark.parametrize("width", [400, 1280])
def test_text_in_figures_is_readable(browser, plots, width, tmp_path):
    page = open_report(browser, write_page(tmp_path / "a.html", [], plots), viewport={"width": width, "height": 800})
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("figure svg text")].filter((text) => text.getBoundingClientRect().width)
            .map((text) => {
                const { c, d } = text.getScreenCTM();
                return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(c, d);
            })"""
    )
    assert len(sizes) > 50 and min(sizes) > 8.5 and max(sizes) < 17  # CSS pixels
    page.context.close()


@needs_chromium
def test_a_point_shows_its_value_on_hover(page):
    point = page.locator("#figures figure").first.locator(".value").last
    assert re.search(r"epoch [\d.]+.*: perplexity [\d.,]+$", point.locator("title").text_content())
    assert point.evaluate("point => getComputedStyle(point).stroke") == "none"
    point.hover()
    assert point.evaluate("point => getComputedStyle(point).stroke") == "rgb(29, 31, 36)"


@needs_chromium
def test_every_control_has_an_accessible_name(page):
    search(page, "cat")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas, svg[role], [role=option]')]
            .filter(control => !(control.ariaLabel || control.innerText || control.labels?.[0]?.innerText))
            .map(control => control.outerHTML)"""
    )
    assert unnamed == []
