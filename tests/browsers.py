"""A real browser for tests of the web pages: headless Chromium, controlled with Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="requires Chromium (apt-get install chromium)")


@contextmanager
def chromium() -> Iterator:
    """Launch the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # The sandbox is not available in containers, and the browser only opens pages of these tests.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def watched_page(browser, allowed: str | tuple[str, ...], **options):
    """An empty browser page that collects problems in ``page.problems``.

    Problems are console messages, uncaught errors, and requests to URLs that do not start with ``allowed``.
    """
    from playwright.sync_api import expect

    page = browser.new_context(**options).new_page()
    page.set_default_timeout(10_000)
    expect.set_options(timeout=10_000)
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on(
        "request",
        lambda request: request.url.startswith(allowed) or page.problems.append(f"requested {request.url}"),
    )
    return page
