"""The word map of the report page in headless Chromium; skipped if it is not installed."""

import numpy as np
import pytest

from lightrnn_pl.allocation.inspection import typical_codes
from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.reporting.page_writer import write_page_from_maps
from lightrnn_pl.reporting.word_map import WordMap
from tests.browsers import needs_chromium
from tests.reporting.browser_pages import (
    css_colors,
    interpolate,
    legend_percentages,
    open_report,
    pixel,
    search,
    wait_until,
)
from tests.serving.models import SCRIPT

playwright = pytest.importorskip("playwright.sync_api", reason="requires Playwright (pip install playwright)")
pytestmark = needs_chromium

expect = playwright.expect


def test_searching_a_word_highlights_its_row_and_column(page, bundle, rounds):
    words, counts = bundle.vocabulary.words, bundle.vocabulary.counts
    codes, sides = rounds[2].codes, rounds[2].sides
    cat = words.index("cat")
    row, column = codes[cat].tolist()
    outside = next(code for code in codes.tolist() if code[0] != row and code[1] != column)
    inside = next(code for code in codes.tolist() if code[0] == row and code[1] != column)
    before = [pixel(page, *cell, sides) for cell in (outside, inside)]
    search(page, "cat")
    expect(page.locator("#word .note").first).to_contain_text("7 occurrences in the training text")
    after = [pixel(page, *cell, sides) for cell in (outside, inside)]
    assert after[1] == before[1] and after[0] != before[0]
    for axis, name in enumerate(("Row", "Column")):
        code = int(codes[cat, axis])
        expect(page.get_by_role("button", name=f"{name} {code}")).to_be_visible()
        members = [word for word in np.argsort(-counts, kind="stable") if codes[word, axis] == code]
        shown = page.get_by_label(f"Words in {name.lower()} {code}, most frequent first").get_by_role("button")
        expect(shown).to_have_text([words[word] for word in members])
    history = page.locator(".history tbody tr")
    losses = [f"{snapshot.word_nll[cat]:.1f}" for snapshot in rounds]
    expect(history).to_have_count(3)
    for index, snapshot in enumerate(rounds):
        cells = history.nth(index).locator("td").all_inner_texts()
        assert cells == [str(index + 1), *map(str, snapshot.codes[cat].tolist()), losses[index].replace("nan", "–")]
    page.locator("#table").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#word")).to_contain_text("Search for a word")
    assert pixel(page, *outside, sides) == before[0]


def test_search_lists_matches_while_typing(page, bundle):
    box = page.locator("#search")
    matches = page.locator("#matches [role=option] .text")
    box.press_sequentially("cat")
    expect(matches).to_have_text(["cat", "Cat", "cats", "caterpillar"])
    expect(box).to_have_attribute("aria-activedescendant", "match-0")
    box.press("ArrowDown")
    expect(page.locator("#match-1")).to_have_attribute("aria-selected", "true")
    box.press("Enter")
    expect(page.locator("#word h3")).to_have_text("Cat")
    expect(page.locator("#matches")).to_be_hidden()
    box.fill("at")
    expect(matches).to_have_text(["cat", "sat", "mat", "cats", "Cat", "caterpillar"])
    box.fill("ÉT")
    expect(matches).to_have_text(["été"])
    box.fill("<img")
    expect(matches).to_have_text([SCRIPT])
    box.press("Enter")
    expect(page.locator("#word h3")).to_have_text(SCRIPT)
    box.fill("nowhere")
    expect(page.locator("#matches")).to_have_text("No matching words.")
    box.press("Enter")
    expect(page.locator("#word h3")).to_have_text(SCRIPT)
    for first_or_last in (bundle.vocabulary.words[0], bundle.vocabulary.words[-1]):
        search(page, first_or_last)
    assert page.title() == "All <runs>"


def test_colors_show_frequency_loss_and_reallocation(page, bundle, rounds):
    counts = bundle.vocabulary.counts
    codes, sides = rounds[2].codes.tolist(), rounds[2].sides
    scale = css_colors(page, "scale-frequency")
    assert pixel(page, *codes[int(np.argmax(counts))], sides)[:3] == scale[-1]
    expect(page.locator("#legend")).to_contain_text("50 occurrences")
    empty = next([row, column] for row in range(sides[0]) for column in range(sides[1]) if [row, column] not in codes)
    assert pixel(page, *empty, sides)[:3] == css_colors(page, "cell-empty")[0]

    page.locator("[name=mode][value=loss]").check(force=True)
    expect(page.locator("#legend")).to_contain_text("mean loss on the validation text")
    assert pixel(page, *codes[3], sides)[:3] == css_colors(page, "cell-unknown")[0]
    # The scale ends at the next integer above 12.3 nats.
    assert pixel(page, *codes[-1], sides)[:3] == pytest.approx(
        interpolate(css_colors(page, "scale-loss"), 12.3 / 13), abs=2
    )

    page.locator("[name=mode][value=moved]").check(force=True)
    for index in (1, 2):
        page.locator("#round").fill(str(index))
        expect(page.locator("#round-name")).to_have_text(f"{index + 1} of 3")
        before, after = rounds[index - 1].codes, rounds[index].codes
        within = ((before != after).any(1) & (before[:, 0] == after[:, 0])).mean()
        moved = (before[:, 0] != after[:, 0]).mean()
        expect(page.locator("#legend")).to_contain_text("new row")
        expected = pytest.approx([100 * (1 - within - moved), 100 * within, 100 * moved], rel=0.02, abs=0.1)
        wait_until(page, lambda expected=expected: legend_percentages(page) == expected)
    page.locator("#round").fill("1")
    page.locator("[name=mode][value=loss]").check(force=True)
    expect(page.locator("#legend")).to_contain_text("not measured in this round")
    page.locator("#round").fill("0")
    page.locator("[name=mode][value=moved]").check(force=True)
    expect(page.locator("#legend")).to_contain_text("no words have been reallocated yet")


def test_the_slider_selects_a_round(page, bundle, rounds):
    words, counts = bundle.vocabulary.words, bundle.vocabulary.counts
    search(page, "sat")
    sat = words.index("sat")
    for index in (0, 2):
        page.locator("#round").fill(str(index))
        row = int(rounds[index].codes[sat, 0])
        expect(page.locator("#word h4").first).to_contain_text(f"Row {row}")
        first = page.locator("#frequent-rows li").first
        row_counts = np.bincount(rounds[index].codes[:, 0], weights=counts)
        expect(first.locator(".code")).to_have_text(str(int(np.argmax(row_counts))))
    typical = typical_codes(bundle.model.allocation, words, counts, codes=40, limit=12)
    assert page.locator("#frequent-rows .code").all_inner_texts() == [str(line["code"]) for line in typical]
    assert page.locator("#frequent-rows .frequent-words").all_inner_texts() == [
        "  ".join(line["words"]) for line in typical
    ]
    page.locator("#frequent-rows button").nth(1).click()
    expect(page.locator("#word h3")).to_have_text(f"Row {typical[1]['code']}")


def test_rows_and_columns_can_be_sorted_by_frequency(page, bundle, rounds):
    counts, codes, sides = bundle.vocabulary.counts, rounds[2].codes, rounds[2].sides
    page.locator("#ordered").check()
    search(page, "the")
    position = []
    for axis in (0, 1):
        code_counts = np.bincount(codes[:, axis], weights=counts, minlength=sides[axis])
        position.append(int(np.argsort(-code_counts, kind="stable").tolist().index(codes[0, axis])))
    page.locator("#table").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#word")).to_contain_text("Search for a word")
    assert pixel(page, *position, sides)[:3] == css_colors(page, "scale-frequency")[-1]


def test_cells_can_be_selected_with_pointer_and_keyboard(page, bundle, rounds):
    words, codes, sides = bundle.vocabulary.words, rounds[2].codes, rounds[2].sides
    box = page.locator("#table").bounding_box()
    side = min(box["width"], box["height"]) / max(sides)
    row, column = codes[words.index("mat")].tolist()
    position = {
        "x": (box["width"] - side * sides[1]) / 2 + (column + 0.5) * side,
        "y": (box["height"] - side * sides[0]) / 2 + (row + 0.3) * side,
    }
    page.locator("#table").hover(position=position)
    expect(page.locator("#tooltip")).to_contain_text("mat")
    expect(page.locator("#tooltip")).to_contain_text(f"row {row} · column {column} · 4 occurrences")
    page.locator("#table").click(position=position)
    expect(page.locator("#word h3")).to_have_text("mat")
    page.keyboard.press("ArrowRight")
    table = {tuple(code): words[word] for word, code in enumerate(codes.tolist())}
    steps = [(row, (column + step) % sides[1]) for step in range(1, sides[1] + 1)]
    expect(page.locator("#word h3")).to_have_text(next(table[cell] for cell in steps if cell in table))


def test_another_run_can_be_selected(page):
    run_select = page.locator("#run")
    assert len(run_select.locator("option").all()) == 2
    # The slider is hidden for the run with a single table.
    single = 0 if not page.locator("#rounds").is_visible() else 1
    run_select.select_option(str(single))
    expect(page.locator("#rounds")).to_be_hidden()
    expect(page.locator("[name=mode][value=moved]")).to_be_disabled()
    run_select.select_option(str(1 - single))
    # Queries sent before the table is unpacked are answered afterwards.
    search(page, "cat")
    expect(page.locator("#rounds")).to_be_visible()


def test_a_large_table_does_not_block_the_page(browser, tmp_path):
    num_words, sides = 60_000, (245, 245)
    generator = np.random.default_rng(0)
    words = [f"w{number}" for number in range(num_words)]
    rounds = [
        (
            number,
            TableSnapshot.of(
                _random_cells(generator, num_words, sides), sides, generator.random(num_words) * 12, "training"
            ),
        )
        for number in (1, 2)
    ]
    path = write_page_from_maps(
        tmp_path / "report.html", [WordMap("large", words, np.arange(num_words, 0, -1), rounds)]
    )
    page = open_report(browser, path, viewport={"width": 1280, "height": 900})
    page.evaluate(
        """() => {
            window.longest = 0;
            new PerformanceObserver((list) => {
                for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
            }).observe({ type: "longtask" });
        }"""
    )
    for word in ("w59999", "w31", "w0"):
        search(page, word)
    for mode in ("loss", "moved"):
        page.locator(f"[name=mode][value={mode}]").check(force=True)
        expect(page.locator("#legend")).to_contain_text("training text" if mode == "loss" else "new row")
    page.locator("#ordered").check()
    page.locator("#round").fill("0")
    expect(page.locator("#legend")).to_contain_text("no words have been reallocated")
    page.locator("#table").focus()
    for _ in range(8):
        page.keyboard.press("+")
    codes = rounds[0][1].codes[0]
    expect(page.locator("#word h4").first).to_contain_text(f"Row {codes[0]}")
    # A generous limit for busy machines; on an idle machine it takes less than a tenth of that.
    assert page.evaluate("window.longest") < 250
    assert page.problems == []
    page.context.close()


def _random_cells(generator, num_words, sides):
    cells = generator.permutation(sides[0] * sides[1])[:num_words]
    return np.stack(np.unravel_index(cells, sides), axis=1)
