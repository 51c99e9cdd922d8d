"""Helpers to operate and inspect the report page in a browser."""

import re

from tests.browsers import watched_page


def open_report(browser, path, **options):
    """Open the page and wait until it shows its word table; ``page.problems`` includes any network request."""
    page = watched_page(browser, (path.as_uri(), "data:", "blob:"), **options)
    page.goto(path.as_uri())
    if page.locator("#map").count():
        page.locator("#map:not([aria-busy]) #frequent-rows li").first.wait_for()
    return page


def search(page, word):
    """Search for a word and select it."""
    from playwright.sync_api import expect

    page.locator("#search").fill(word)
    page.locator("#search").press("Enter")
    expect(page.locator("#word h3")).to_have_text(word)


def pixel(page, row, column, sides):
    """The color of a cell as RGBA.  The whole table must be in view."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(
        """([x, y]) => {
            const canvas = document.querySelector("#table");
            const side = Math.min(canvas.width, canvas.height);
            const [left, top] = [(canvas.width - side) / 2, (canvas.height - side) / 2];
            // Read from a copy, because frequent reads change how the browser renders a canvas.
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            return [...context.getImageData(Math.round(left + x * side), Math.round(top + y * side), 1, 1).data];
        }""",
        # Above the center of the cell, where its word is drawn.
        [(column + 0.5) / max(sides), (row + 0.15) / max(sides)],
    )


def css_colors(page, name):
    """The colors in a CSS variable as RGB."""
    value = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
    return [[int(color[start : start + 2], 16) for start in (1, 3, 5)] for color in re.findall(r"#\w{6}", value)]


def interpolate(colors, fraction):
    """The color at a position from 0 to 1 on a scale of colors."""
    position = fraction * (len(colors) - 1)
    lower = min(int(position), len(colors) - 2)
    pairs = zip(colors[lower], colors[lower + 1], strict=True)
    return [first + (position - lower) * (second - first) for first, second in pairs]


def legend_percentages(page):
    """The percentages of words in the legend of reallocations."""
    return [float(value) for value in re.findall(r"\(([\d.]+)%", page.locator("#legend").inner_text())]


def wait_until(page, condition):
    """Wait up to five seconds for a condition."""
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("the condition was not met in time")
