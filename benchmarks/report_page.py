"""The report page with a very large word table in a headless browser: sizes and times.

    python benchmarks/report_page.py --words 793471 --rounds 4 --output outputs/report_page --json outputs/page.json
    python benchmarks/report_page.py --run outputs/NAME/DATE

The word table is that of a run, or is generated: counts follow Zipf's law, and a share of the words is reallocated in
each round.  Times are those of a page opened from a file: to the first paint, to the display of the table, and from
pressing Enter after a search to the highlighted word.  The longest task is that of the main thread, during loading and
afterwards, while words are searched, all rounds and colorings are shown, and the table is zoomed.  Users do not notice
tasks below 100 ms.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

_LONG_TASKS = """
window.longest = [];
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) window.longest.push([startTime, duration]);
}).observe({ type: "longtask", buffered: true });
"""


def generate_tables(num_words: int, num_rounds: int, share_moved: float, seed: int) -> Any:
    """Generated word tables."""
    from lightrnn_pl.allocation.table_snapshot import TableSnapshot
    from lightrnn_pl.allocation.word_allocation import balanced_sides
    from lightrnn_pl.reporting.word_map import WordMap

    generator = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words: dict[str, None] = {}
    while len(words) < num_words:
        lengths = np.clip(generator.poisson(7, num_words), 2, 20)
        text = "".join(letters[(generator.beta(1, 2, lengths.sum()) * len(letters)).astype(int)])
        ends = np.cumsum(lengths)
        words.update(dict.fromkeys(text[end - length : end] for end, length in zip(ends, lengths, strict=True)))
    counts = np.maximum(1, (4e7 / (np.arange(num_words) + 2.7)).astype(np.int64))
    sides = balanced_sides(num_words, 2)
    cells = generator.permutation(num_words)
    losses = np.clip(generator.normal(2 + np.log(np.arange(num_words) + 2), 1.5), 0, None)
    rounds = []
    for number in range(1, num_rounds + 1):
        codes = np.stack(np.unravel_index(cells, sides), axis=1)
        # As for a validation text, some words have no loss because they do not occur.
        word_nll = np.where(generator.random(num_words) < 0.1, np.nan, losses * (1 - 0.03 * number))
        rounds.append((number, TableSnapshot.of(codes, sides, word_nll, "training")))
        reallocated = np.flatnonzero(generator.random(num_words) < share_moved / number)
        cells = cells.copy()
        cells[reallocated] = cells[generator.permutation(reallocated)]
    return WordMap("generated", list(words)[:num_words], counts, rounds)


def read_tables(folder: Path) -> Any:
    """The word tables of a run."""
    from lightrnn_pl.reporting.runs import find_runs
    from lightrnn_pl.reporting.word_map import WordMap

    word_map = WordMap.of_run(find_runs([folder])[0], folder.name)
    if word_map is None:
        raise SystemExit(f"{folder} has no word tables")
    return word_map


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All results of one page."""
    from playwright.sync_api import sync_playwright

    from lightrnn_pl.reporting.page_writer import write_page_from_maps

    if arguments.run is None:
        word_map = generate_tables(arguments.words, arguments.rounds, arguments.moved, arguments.seed)
    else:
        word_map = read_tables(arguments.run)
    started = time.perf_counter()
    page_file = write_page_from_maps(arguments.output / "report.html", [word_map], title="A very large word table")
    seconds_to_write = time.perf_counter() - started
    result: dict[str, Any] = {
        "words": len(word_map.words),
        "sides": list(word_map.rounds[0][1].sides),
        "rounds": len(word_map.rounds),
        "megabytes": page_file.stat().st_size / 1e6,
        "seconds_to_write": seconds_to_write,
    }
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(_LONG_TASKS)
        page.goto(page_file.resolve().as_uri())
        page.locator("#map:not([aria-busy])").wait_for(timeout=120_000)
        result["ms_to_table"] = page.evaluate("performance.now()")
        paints = page.evaluate(
            "Object.fromEntries(performance.getEntriesByType('paint').map((p) => [p.name, p.startTime]))"
        )
        result["ms_to_first_paint"] = paints["first-contentful-paint"]
        result["ms_to_load"] = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        generator = np.random.default_rng(arguments.seed)
        times = [
            _time_to_find(page, word_map.words[int(generator.integers(len(word_map.words)))])
            for _ in range(arguments.searches)
        ]
        result |= {"ms_to_find_first": times[0], "ms_to_find_median": statistics.median(times[1:])}
        result["ms_to_paint"] = {
            mode: _time_to_show(page, f"[name=mode][value={mode}]") for mode in ("loss", "moved", "frequency")
        }
        result["ms_to_paint"]["heaviest first"] = _time_to_show(page, "#ordered")
        for index in range(len(word_map.rounds)):
            page.locator("#round").fill(str(index))
        box = page.locator("#table").bounding_box()
        page.mouse.click(box["x"] + 200, box["y"] + 200)
        for _ in range(30):
            page.mouse.wheel(0, -200)
            page.wait_for_timeout(20)
        page.wait_for_timeout(500)
        page.screenshot(path=arguments.output / "zoomed.png")
        tasks = page.evaluate("window.longest")
        result["ms_longest_task"] = max((duration for _, duration in tasks), default=0.0)
        after = [duration for start, duration in tasks if start > result["ms_to_load"]]
        result["ms_longest_task_after_load"] = max(after, default=0.0)
        browser.close()
    return result


def _time_to_find(page: Any, word: str) -> float:
    """Time from pressing Enter after a search to highlighting the row and column of the word."""
    page.locator("#search").fill("")
    return page.evaluate(
        """async (word) => {
            const box = document.querySelector("#search");
            const card = document.querySelector("#word");
            const shown = new Promise((resolve) => {
                const watch = new MutationObserver(() => {
                    if (card.querySelector("h3")?.textContent !== word) return;
                    watch.disconnect();
                    requestAnimationFrame(() => setTimeout(resolve));
                });
                watch.observe(card, { childList: true });
            });
            const started = performance.now();
            box.value = word;
            box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", cancelable: true }));
            await shown;
            return performance.now() - started;
        }""",
        word,
    )


def _time_to_show(page: Any, control: str) -> float:
    """Time from choosing an option to displaying the table."""
    return page.evaluate(
        """async (control) => {
            const legend = document.querySelector("#legend");
            const shown = new Promise((resolve) => {
                const watch = new MutationObserver(() => requestAnimationFrame(() => setTimeout(resolve)));
                watch.observe(legend, { childList: true });
            });
            const started = performance.now();
            document.querySelector(control).click();
            await shown;
            return performance.now() - started;
        }""",
        control,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=793_471)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--run", type=Path, help="a run folder whose tables are used instead of generated ones")
    parser.add_argument("--moved", type=float, default=0.9, help="share of words to reallocate in the first round")
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("outputs/report_page"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments)
    print(json.dumps(result, indent=2))
    if arguments.json:
        from lightrnn_pl.files import write_json

        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
