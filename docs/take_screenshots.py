"""Takes the screenshots of the README and of the guides in headless Chromium.

python docs/take_screenshots.py RUN            # a run folder of lightrnn-train experiment=demo/lightrnn

The word map is that of RUN, and the page of ``lightrnn-serve`` is that of the model of the package.  Requires Chromium
and Playwright.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from lightrnn_pl.files import atomic_write

FIGURES = Path(__file__).parent / "figures"
_PORT = 8765
_WORD = "string"
_TEXT = "return a copy of the "


def main() -> None:
    """Write both images."""
    run = Path(sys.argv[1])
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        options: Any = {"viewport": {"width": 1000, "height": 860}, "color_scheme": "light"}
        page = browser.new_context(**options).new_page()
        subprocess.run([_command("report"), str(run), f"output={folder}", "title=lightrnn"], check=True)
        _word_map(page, Path(folder) / "report.html")
        with _server():
            _serve_page(page)
        browser.close()


def _command(name: str) -> str:
    return str(Path(sys.executable).with_name(f"lightrnn-{name}"))


def _word_map(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    page.fill("#search", _WORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#word :not(:empty)")
    page.wait_for_timeout(1000)
    _save(page.locator("#map").screenshot(), "word-map.png", 830)


def _serve_page(page: Page) -> None:
    page.goto(f"http://127.0.0.1:{_PORT}/")
    page.fill("#text", _TEXT)
    page.wait_for_selector("#next li")
    page.wait_for_selector("#scores :not(:empty)")
    page.locator("#scores > *").nth(2).click()
    page.wait_for_timeout(1000)
    _save(page.screenshot(), "serve-page.png")


@contextmanager
def _server() -> Iterator[None]:
    with subprocess.Popen([_command("serve"), "checkpoint=demo", f"port={_PORT}"]) as server:
        try:
            while server.poll() is None:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/")
                    break
                except urllib.error.URLError:
                    sleep(0.2)
            yield
        finally:
            server.terminate()


def _save(png: bytes, name: str, height: int | None = None) -> None:
    """Write the upper part of an image with a palette, which is smaller."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.crop((0, 0, image.width, height or image.height)).quantize(256, Image.Quantize.MAXCOVERAGE)
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    with atomic_write(FIGURES / name) as file:
        file.write(data.getvalue())


if __name__ == "__main__":
    main()
