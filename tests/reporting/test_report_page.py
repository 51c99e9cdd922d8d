"""The report's page in a real browser, opened from its file: Chromium without a window; skipped where it is missing."""

import re

import numpy as np
import pytest

from lightrnn_pl.allocation.inspection import typical_codes
from lightrnn_pl.allocation.snapshot import TableSnapshot
from lightrnn_pl.reporting import page_writer
from lightrnn_pl.reporting.groups import group_runs
from lightrnn_pl.reporting.page_writer import write_page, write_page_of_maps
from lightrnn_pl.reporting.pictures import CAPTIONS, write_pictures
from lightrnn_pl.reporting.runs import find_runs
from lightrnn_pl.reporting.tables import Table
from lightrnn_pl.reporting.word_map import WordMap
from tests.browsers import chromium, needs_chromium, watched_page
from tests.reporting.maps import make_run_with_tables, tables_of
from tests.serving.models import SCRIPT, tiny_bundle

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")

expect = playwright.expect

RESULTS = Table(
    "Results",
    ("", "seeds", "test perplexity", "paper: perplexity"),
    [("NE", "0", "1,102.50 ± 2.00", "88.3"), (f"{SCRIPT} (small)", "0", "97.5", "–"), ("SE 5K", "–", "–", "90.1")],
    notes=["a <note>"],
)
FAILED = Table("Not completed", ("folder", "error"), [("3", "ValueError: <b>no</b>")], texts=2)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def bundle():
    return tiny_bundle()


@pytest.fixture(scope="module")
def rounds(bundle):
    return tables_of(len(bundle.vocabulary), bundle.model.allocation.sides, bundle.model.allocation)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page of two runs with tables, one of which kept the last table only."""
    folder = tmp_path_factory.mktemp("report")
    make_run_with_tables(folder / "runs" / "a", 0, 100.0)
    make_run_with_tables(folder / "runs" / "b", 0, 90.0, kept=False, model__hidden_dim=300)
    groups = group_runs(find_runs([folder / "runs"]))
    pictures = write_pictures(groups, folder / "pictures")
    return write_page(folder / "report.html", groups, pictures, [RESULTS], [FAILED], "All <runs>", ["2 runs & more"])


def opened(browser, path, **options):
    """The page, once it shows its table; what it complains of, or asks of a network, is in ``page.problems``."""
    page = watched_page(browser, (path.as_uri(), "data:", "blob:"), **options)
    page.goto(path.as_uri())
    if page.locator("#map").count():
        page.locator("#map:not([aria-busy]) #heaviest li").first.wait_for()
    return page


@pytest.fixture
def page(browser, report):
    page = opened(browser, report, viewport={"width": 1280, "height": 900})
    yield page
    assert page.problems == []
    page.context.close()


def search(page, word):
    page.locator("#search").fill(word)
    page.locator("#search").press("Enter")
    expect(page.locator("#word h3")).to_have_text(word)


def pixel(page, row, column, sides):
    """The colour in the middle of a cell, all of the table being in view."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(
        """([x, y]) => {
            const canvas = document.querySelector("#table");
            const side = Math.min(canvas.width, canvas.height);
            const [left, top] = [(canvas.width - side) / 2, (canvas.height - side) / 2];
            // Read from a copy: a canvas that is read often is drawn in another way.
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            return [...context.getImageData(Math.round(left + x * side), Math.round(top + y * side), 1, 1).data];
        }""",
        # Not the very middle: there the word is written.
        [(column + 0.5) / max(sides), (row + 0.15) / max(sides)],
    )


def stops(page, name):
    found = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
    return [[int(color[place : place + 2], 16) for place in (1, 3, 5)] for color in re.findall(r"#\w{6}", found)]


def shares(page):
    """Percent of the words, by how they moved."""
    told = re.findall(r"\(([\d.]+|none)", page.locator("#legend").inner_text())
    return [0.0 if one == "none" else float(one) for one in told]


def eventually(page, holds):
    for _ in range(100):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come to hold")


def between(colors, share):
    place = share * (len(colors) - 1)
    from_one = min(int(place), len(colors) - 2)
    pairs = zip(colors[from_one], colors[from_one + 1], strict=True)
    return [one + (place - from_one) * (other - one) for one, other in pairs]


def test_the_file_needs_nothing_else_and_is_escaped(report):
    text = report.read_text(encoding="utf-8")
    assert "{{" not in text and "import " not in re.sub(r"<style>.*?</style>", "", text, flags=re.S).split("<main>")[0]
    assert not re.search(r'(?:src|href)="(?!#|data:)', text) and "url(http" not in text
    assert "<b>no</b>" not in text and SCRIPT not in text and "All &lt;runs&gt;" in text
    for caption in CAPTIONS.values():
        if caption.title != CAPTIONS["compression"].title and caption.title != CAPTIONS["parts"].title:
            assert (caption.title in text) == (caption.title != CAPTIONS["frontier"].title)


def test_a_report_without_word_tables_has_no_map(tmp_path):
    path = write_page(tmp_path / "report.html", [], {}, [RESULTS])
    text = path.read_text(encoding="utf-8")
    assert 'id="map"' not in text and "new Worker" not in text and 'id="results-0"' in text


def test_tables_that_are_too_large_are_left_out(tmp_path, rounds, bundle, monkeypatch, caplog):
    words, counts = bundle.vocabulary.words, bundle.vocabulary.counts
    maps = [WordMap(name, words, counts, [(1, rounds[0])]) for name in ("first", "second")]
    monkeypatch.setattr(page_writer, "MOST_BYTES", 10)
    text = write_page_of_maps(tmp_path / "report.html", maps).read_text(encoding="utf-8")
    assert '"first"' in text and '"second"' not in text
    assert "no word table of second" in caplog.text


@needs_chromium
def test_results_are_shown_as_text_and_can_be_sorted(page):
    expect(page.locator("h1")).to_have_text("All <runs>")
    table = page.locator("#results-0 table")
    expect(table.locator("thead th")).to_have_text(["name", "seeds", "test perplexity", "paper’s perplexity"])
    names = table.locator("tbody th")
    expect(names).to_have_text(["NE", f"{SCRIPT}small", "SE 5K"])
    expect(table.locator("tr.elsewhere th")).to_have_text("SE 5K")
    page.get_by_role("button", name="test perplexity").click()
    expect(names).to_have_text([f"{SCRIPT}small", "NE", "SE 5K"])
    page.get_by_role("button", name="test perplexity").click()
    expect(names).to_have_text(["NE", f"{SCRIPT}small", "SE 5K"])  # what is missing stays last
    expect(page.locator("#failures-0 td.error")).to_have_text("ValueError: <b>no</b>")
    assert page.title() == "All <runs>" and page.locator("img").count() == 0
    assert page.locator("#pictures svg").count() == 3


@needs_chromium
def test_a_word_that_is_searched_lights_up_its_row_and_its_column(page, bundle, rounds):
    words, counts = bundle.vocabulary.words, bundle.vocabulary.counts
    codes, sides = rounds[2].codes, rounds[2].sides
    number = words.index("cat")
    row, column = codes[number].tolist()
    away = next(code for code in codes.tolist() if code[0] != row and code[1] != column)
    lit = next(code for code in codes.tolist() if code[0] == row and code[1] != column)
    before = [pixel(page, *cell, sides) for cell in (away, lit)]
    search(page, "cat")
    expect(page.locator("#word .note").first).to_contain_text("7 times in the training text")
    after = [pixel(page, *cell, sides) for cell in (away, lit)]
    assert after[1] == before[1] and after[0] != before[0]
    for axis, name in enumerate(("Row", "Column")):
        code = int(codes[number, axis])
        expect(page.get_by_role("button", name=f"{name} {code}")).to_be_visible()
        members = [word for word in np.argsort(-counts, kind="stable") if codes[word, axis] == code]
        shown = page.get_by_label(f"Words of {name.lower()} {code}, the most frequent first").get_by_role("button")
        expect(shown).to_have_text([words[word] for word in members])
    path = page.locator(".path tbody tr")
    losses = [f"{snapshot.word_nll[number]:.1f}" for snapshot in rounds]
    expect(path).to_have_count(3)
    for place, snapshot in enumerate(rounds):
        cells = path.nth(place).locator("td").all_inner_texts()
        assert cells == [str(place + 1), *map(str, snapshot.codes[number].tolist()), losses[place].replace("nan", "–")]
    page.locator("#table").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#word")).to_contain_text("Search a word")
    assert pixel(page, *away, sides) == before[0]


@needs_chromium
def test_words_are_found_while_they_are_typed(page, bundle):
    box = page.locator("#search")
    found = page.locator("#found [role=option] .text")
    box.press_sequentially("cat")
    expect(found).to_have_text(["cat", "Cat", "cats", "caterpillar"])
    expect(box).to_have_attribute("aria-activedescendant", "found-0")
    box.press("ArrowDown")
    expect(page.locator("#found-1")).to_have_attribute("aria-selected", "true")
    box.press("Enter")
    expect(page.locator("#word h3")).to_have_text("Cat")
    expect(page.locator("#found")).to_be_hidden()
    box.fill("at")
    expect(found).to_have_text(["cat", "sat", "mat", "cats", "Cat", "caterpillar"])
    box.fill("ÉT")
    expect(found).to_have_text(["été"])
    box.fill("<img")
    expect(found).to_have_text([SCRIPT])
    box.press("Enter")
    expect(page.locator("#word h3")).to_have_text(SCRIPT)
    box.fill("nowhere")
    expect(page.locator("#found")).to_have_text("No matching words.")
    box.press("Enter")
    expect(page.locator("#word h3")).to_have_text(SCRIPT)
    for first_or_last in (bundle.vocabulary.words[0], bundle.vocabulary.words[-1]):
        search(page, first_or_last)
    assert page.title() == "All <runs>"


@needs_chromium
def test_colours_say_frequency_loss_and_moves(page, bundle, rounds):
    counts = bundle.vocabulary.counts
    codes, sides = rounds[2].codes.tolist(), rounds[2].sides
    scale = stops(page, "scale-frequency")
    assert pixel(page, *codes[int(np.argmax(counts))], sides)[:3] == scale[-1]
    expect(page.locator("#legend")).to_contain_text("50 times")
    empty = next([row, column] for row in range(sides[0]) for column in range(sides[1]) if [row, column] not in codes)
    assert pixel(page, *empty, sides)[:3] == stops(page, "cell-empty")[0]

    page.locator("[name=mode][value=loss]").check(force=True)
    expect(page.locator("#legend")).to_contain_text("mean over the validation text")
    assert pixel(page, *codes[3], sides)[:3] == stops(page, "cell-unknown")[0]
    # 12.3 nats, in tenths, on a scale that ends with the next whole number.
    assert pixel(page, *codes[-1], sides)[:3] == pytest.approx(between(stops(page, "scale-loss"), 12.3 / 13), abs=2)

    page.locator("[name=mode][value=moved]").check(force=True)
    for place in (1, 2):
        page.locator("#round").fill(str(place))
        expect(page.locator("#round-name")).to_have_text(f"{place + 1} of 3")
        before, now = rounds[place - 1].codes, rounds[place].codes
        within = ((before != now).any(1) & (before[:, 0] == now[:, 0])).mean()
        moved = (before[:, 0] != now[:, 0]).mean()
        expect(page.locator("#legend")).to_contain_text("another row")
        expected = pytest.approx([100 * (1 - within - moved), 100 * within, 100 * moved], rel=0.02, abs=0.1)
        eventually(page, lambda expected=expected: shares(page) == expected)
    page.locator("#round").fill("1")
    page.locator("[name=mode][value=loss]").check(force=True)
    expect(page.locator("#legend")).to_contain_text("not measured in this round")
    page.locator("#round").fill("0")
    page.locator("[name=mode][value=moved]").check(force=True)
    expect(page.locator("#legend")).to_contain_text("no word has moved yet")


@needs_chromium
def test_the_slider_goes_through_the_rounds(page, bundle, rounds):
    words, counts = bundle.vocabulary.words, bundle.vocabulary.counts
    search(page, "sat")
    number = words.index("sat")
    for place in (0, 2):
        page.locator("#round").fill(str(place))
        row = int(rounds[place].codes[number, 0])
        expect(page.locator("#word h4").first).to_contain_text(f"Row {row}")
        first = page.locator("#heaviest li").first
        mass = np.bincount(rounds[place].codes[:, 0], weights=counts)
        expect(first.locator(".code")).to_have_text(str(int(np.argmax(mass))))
    typical = typical_codes(bundle.model.allocation, words, counts, codes=40, limit=12)
    assert page.locator("#heaviest .code").all_inner_texts() == [str(line["code"]) for line in typical]
    assert page.locator("#heaviest .typical").all_inner_texts() == ["  ".join(line["words"]) for line in typical]
    page.locator("#heaviest button").nth(1).click()
    expect(page.locator("#word h3")).to_have_text(f"Row {typical[1]['code']}")


@needs_chromium
def test_the_heaviest_rows_and_columns_can_come_first(page, bundle, rounds):
    counts, codes, sides = bundle.vocabulary.counts, rounds[2].codes, rounds[2].sides
    page.locator("#ordered").check()
    search(page, "the")
    places = []
    for axis in (0, 1):
        mass = np.bincount(codes[:, axis], weights=counts, minlength=sides[axis])
        places.append(int(np.argsort(-mass, kind="stable").tolist().index(codes[0, axis])))
    page.locator("#table").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#word")).to_contain_text("Search a word")
    assert pixel(page, *places, sides)[:3] == stops(page, "scale-frequency")[-1]


@needs_chromium
def test_cells_answer_to_the_pointer_and_to_keys(page, bundle, rounds):
    words, codes, sides = bundle.vocabulary.words, rounds[2].codes, rounds[2].sides
    number = words.index("mat")
    box = page.locator("#table").bounding_box()
    side = min(box["width"], box["height"]) / max(sides)
    row, column = codes[number].tolist()
    place = {
        "x": (box["width"] - side * sides[1]) / 2 + (column + 0.5) * side,
        "y": (box["height"] - side * sides[0]) / 2 + (row + 0.3) * side,
    }
    page.locator("#table").hover(position=place)
    expect(page.locator("#tip")).to_contain_text("mat")
    expect(page.locator("#tip")).to_contain_text(f"row {row} · column {column} · 4 times")
    page.locator("#table").click(position=place)
    expect(page.locator("#word h3")).to_have_text("mat")
    page.keyboard.press("ArrowRight")
    table = {tuple(code): words[word] for word, code in enumerate(codes.tolist())}
    steps = [(row, (column + step) % sides[1]) for step in range(1, sides[1] + 1)]
    expect(page.locator("#word h3")).to_have_text(next(table[cell] for cell in steps if cell in table))


@needs_chromium
def test_another_run_can_be_chosen(page):
    choice = page.locator("#run")
    assert len(choice.locator("option").all()) == 2
    # The run that kept one table only has no rounds to go through.
    single = 0 if not page.locator("#rounds").is_visible() else 1
    choice.select_option(str(single))
    expect(page.locator("#rounds")).to_be_hidden()
    expect(page.locator("[name=mode][value=moved]")).to_be_disabled()
    choice.select_option(str(1 - single))
    # What is asked before the table is there is answered once it is.
    search(page, "cat")
    expect(page.locator("#rounds")).to_be_visible()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_have_colours_that_can_be_read(browser, report, scheme):
    page = opened(browser, report, color_scheme=scheme)
    ink, paper = stops(page, "ink")[0], stops(page, "paper")[0]
    assert (sum(ink) < sum(paper)) == (scheme == "light")
    filled = page.locator("#pictures svg text").first.evaluate("one => getComputedStyle(one).fill")
    expected = {"light": "rgb(95, 99, 108)", "dark": "rgb(160, 164, 173)"}[scheme]
    assert filled == expected
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    expect(page.locator("#legend")).to_contain_text("50 times")
    assert page.problems == []
    page.context.close()


@needs_chromium
@pytest.mark.parametrize("width", (320, 390, 800, 1280))
def test_fits_the_screen(browser, report, width):
    page = opened(browser, report, viewport={"width": width, "height": 800})
    search(page, SCRIPT)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.problems == []
    page.context.close()


@needs_chromium
def test_every_control_has_a_name(page):
    search(page, "cat")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas, svg[role], [role=option]')]
            .filter(one => !(one.getAttribute('aria-label') || one.innerText || one.labels?.[0]?.innerText))
            .map(one => one.outerHTML)"""
    )
    assert unnamed == []


@needs_chromium
def test_a_large_table_never_blocks_the_page(browser, tmp_path):
    num_words, sides = 60_000, (245, 245)
    generator = np.random.default_rng(0)
    words = [f"w{number}" for number in range(num_words)]
    rounds = [
        (
            number,
            TableSnapshot.of(_cells(generator, num_words, sides), sides, generator.random(num_words) * 12, "training"),
        )
        for number in (1, 2)
    ]
    path = write_page_of_maps(tmp_path / "report.html", [WordMap("large", words, np.arange(num_words, 0, -1), rounds)])
    page = opened(browser, path, viewport={"width": 1280, "height": 900})
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
        expect(page.locator("#legend")).to_contain_text("training text" if mode == "loss" else "another row")
    page.locator("#ordered").check()
    page.locator("#round").fill("0")
    expect(page.locator("#legend")).to_contain_text("no word has moved")
    page.locator("#table").focus()
    for _ in range(8):
        page.keyboard.press("+")
    codes = rounds[0][1].codes[0]
    expect(page.locator("#word h4").first).to_contain_text(f"Row {codes[0]}")
    # Generous, for machines that are busy with other things; alone it is not a tenth of that.
    assert page.evaluate("window.longest") < 250
    assert page.problems == []
    page.context.close()


def _cells(generator, num_words, sides):
    cells = generator.permutation(sides[0] * sides[1])[:num_words]
    return np.stack(np.unravel_index(cells, sides), axis=1)
