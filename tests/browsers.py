"""A real browser for tests of pages: Chromium without a window, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")


@contextmanager
def chromium() -> Iterator:
    """The browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # Without a sandbox: in a container Chromium has no right to one, and it reads pages of the tests only.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def watched_page(browser, allowed: str | tuple[str, ...], **options):
    """An empty page; what it complains of, or asks of addresses that do not start as ``allowed``, is in
    ``page.problems``."""
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(10_000)
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith(allowed) or page.problems.append(f"went to {sent.url}"))
    return page
