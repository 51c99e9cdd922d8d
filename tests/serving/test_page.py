"""The page of ``lightrnn-serve`` in headless Chromium; skipped if Chromium or Playwright is not installed."""

from contextlib import suppress
from dataclasses import replace

import pytest

from tests.browsers import chromium, needs_chromium, watched_page
from tests.serving.models import SCRIPT, served, tiny_bundle

playwright = pytest.importorskip("playwright.sync_api", reason="requires Playwright (pip install playwright)")
pytestmark = needs_chromium

expect = playwright.expect


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def bundle():
    return tiny_bundle()


@pytest.fixture(scope="module")
def address(bundle):
    with served(bundle) as address:
        yield address


def opened(browser, address, **options):
    """Open the page and wait until it shows next words; problems are collected in ``page.problems``."""
    page = watched_page(browser, address, **options)
    page.goto(address)
    page.locator("#next li").first.wait_for()
    return page


@pytest.fixture
def page(browser, address):
    page = opened(browser, address)
    yield page
    assert page.problems == []
    page.context.close()


def listed_words(page, text):
    """The listed next words, once the summary below the list contains ``text``."""
    expect(page.locator("#next-summary")).to_contain_text(text)
    expect(page.locator("#next")).not_to_have_attribute("aria-busy", "true")
    return page.locator("#next .word").all_inner_texts()


def is_for(response, text):
    """Whether a response is that of the next words after ``text``."""
    return "/api/next" in response.url and response.request.post_data_json["text"] == text


def totals(page):
    return dict(
        zip(page.locator("#totals dt").all_inner_texts(), page.locator("#totals dd").all_inner_texts(), strict=True)
    )


def test_shows_the_exact_next_words_while_typing(page, bundle):
    expect(page.locator("h1")).to_have_text("nowhere")
    box = page.get_by_role("textbox", name="Text")
    for text in ("the ", "the cat sat "):
        box.fill("")
        with page.expect_response(lambda response, text=text: is_for(response, text)):  # the words may be the same
            box.press_sequentially(text)
        expect(page.locator("#next")).not_to_have_attribute("aria-busy", "true")
        expected = bundle.next_words(text, 10)
        expect(page.locator("#next .word")).to_have_text(list(expected.words))
        numbers = [float(number.rstrip("%")) for number in page.locator("#next .number").all_inner_texts()]
        assert numbers == pytest.approx([100 * value for value in expected.probabilities], rel=0.05)
        widths = page.locator("#next .bar").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")
        assert [width / widths[0] for width in widths] == pytest.approx(
            [value / expected.probabilities[0] for value in expected.probabilities], abs=0.02
        )
        expect(page.locator("#next-summary")).to_contain_text(
            f"exact search: {expected.rows_opened} of 4 rows evaluated"
        )


def test_tab_completes_and_inserts_words(page, bundle):
    box = page.locator("#text")
    box.press_sequentially("the ca")
    words = listed_words(page, "4 words start with “ca”")
    assert sorted(words) == ["Cat", "cat", "caterpillar", "cats"]
    expect(page.locator("[role=option]").first).to_have_attribute("aria-selected", "true")
    box.press("ArrowDown")
    expect(page.locator("[role=option]").nth(1)).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", "next-1")
    box.press("Tab")
    expect(box).to_have_value(f"the {words[1]} ")
    following = bundle.next_words(f"the {words[1]}", 10).words
    expect(page.locator("#next .word")).to_have_text(list(following))
    box.press("Tab")
    expect(box).to_have_value(f"the {words[1]} {following[0]} ")
    box.press("Control+z")
    expect(box).to_have_value(f"the {words[1]} ")
    box.press("Escape")
    box.press("Tab")
    expect(box).not_to_be_focused()


def test_tab_moves_the_focus_if_the_text_box_was_not_used(page):
    page.locator("#text").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#text")).to_have_value("")
    expect(page.locator("#text")).not_to_be_focused()


def test_clicking_a_word_inserts_it_at_the_caret(page, bundle):
    box = page.locator("#text")
    box.fill("the sat")
    page.evaluate("document.querySelector('#text').setSelectionRange(4, 4)")
    first = bundle.next_words("the", 10).words[0]
    expect(page.locator("#next .word")).to_have_text(list(bundle.next_words("the", 10).words))
    page.locator("[role=option]").first.click()
    expect(box).to_have_value(f"the {first} sat")
    expect(box).to_be_focused()


def test_scores_each_word_and_underlines_unknown_words(page, bundle):
    page.locator("#text").fill("the dog sat")
    scores = bundle.score(["the dog sat"])[0]
    expect(page.locator(".chip .number")).to_have_text([f"{-score:.1f}" for score in scores])
    assert page.locator(".chip .word").all_inner_texts() == ["the", "dog", "sat", "<eos>"]
    assert page.locator(".chip.unknown").all_inner_texts()[0].startswith("dog")
    expect(page.locator("#mirror mark")).to_have_text(["dog"])
    expect(page.locator("#unknown")).to_have_text("Not in the vocabulary, read as <unk>: dog")
    assert totals(page)["log-probability"] == f"−{-sum(scores):.2f} nats"
    heats = page.locator(".chip").evaluate_all(
        "chips => chips.map(chip => parseFloat(chip.style.getPropertyValue('--heat')))"
    )
    assert heats == pytest.approx([min(100, -100 * score / 12) for score in scores], abs=0.1)
    page.get_by_label("probability").check(force=True)
    expect(page.locator(".chip .number").first).to_contain_text("%")
    page.locator("#text").fill("")
    expect(page.locator("#scores")).to_be_hidden()


def test_a_completion_replaces_only_the_letters_that_it_completes(browser, bundle):
    with served(replace(bundle, tokenizer="ptb")) as address:
        page = opened(browser, address)
        box = page.get_by_role("textbox", name="Text")
        box.press_sequentially("The (caterp")
        listed_words(page, "1 word starts with “caterp”")
        box.press("Tab")
        expect(box).to_have_value("The (caterpillar ")
        expect(page.locator(".chip .word")).to_have_text(["the", "caterpillar", "<eos>"])
        assert page.problems == []
        page.context.close()


def test_a_partial_word_is_not_scored(page):
    page.locator("#text").press_sequentially("the caterp")
    listed_words(page, "1 word starts with “caterp”")
    expect(page.locator(".chip .word")).to_have_text(["the", "<eos>"])
    page.locator("#text").press_sequentially("illa ")
    expect(page.locator(".chip .word")).to_have_text(["the", "caterpilla", "<eos>"])
    expect(page.locator("#unknown")).to_contain_text("caterpilla")


def test_shows_the_cell_and_neighbors_of_the_word_at_the_caret(page, bundle):
    allocation, vocabulary = bundle.model.allocation, bundle.vocabulary
    page.locator("#text").fill("the cat sat")
    page.evaluate("document.querySelector('#text').setSelectionRange(5, 5)")
    expect(page.locator("#word h3")).to_have_text("cat")
    row, column = allocation.codes[vocabulary.id("cat")].tolist()
    expect(page.locator("#word .codes")).to_have_text(f"row {row} · column {column}")
    expect(page.locator("#word svg")).to_have_attribute("aria-label", f"row {row} of 4, column {column} of 4")
    same_row = [word for word in vocabulary.words if allocation.codes[vocabulary.id(word), 0] == row and word != "cat"]
    expect(page.get_by_label(f"Words in row {row}").get_by_role("button")).to_have_text(same_row)
    page.get_by_label(f"Words in row {row}").get_by_role("button").first.click()
    expect(page.locator("#word h3")).to_have_text(same_row[0])
    page.locator(".chip").first.click()
    expect(page.locator("#word h3")).to_have_text("the")
    page.get_by_role("button", name="Insert").click()
    expect(page.locator("#text")).to_have_value("the cat the sat")


def test_arrow_keys_move_the_focus_among_words(page):
    page.locator("#text").fill("the cat sat ")
    expect(page.locator(".chip")).to_have_count(4)
    page.locator(".chip").first.focus()
    for key, index in (("ArrowRight", 1), ("End", 3), ("ArrowRight", 0), ("ArrowLeft", 3), ("Home", 0)):
        page.keyboard.press(key)
        expect(page.locator(".chip").nth(index)).to_be_focused()
    assert page.locator(".chip[tabindex='0']").count() == 1


def wait_for_scores(page, words):
    """Waits until the scores of a text are displayed; before, they can move the buttons below them during a click."""
    expect(page.locator(".chip")).to_have_count(words + 1)  # and the end marker


def test_continues_the_text(page, bundle):
    page.locator("#text").fill("the cat")
    wait_for_scores(page, 2)
    page.get_by_label("max words").fill("5")
    page.get_by_label("temperature").fill("0")
    page.get_by_label("top-p").fill("")
    page.get_by_role("button", name="Continue").click()
    (continuation,) = bundle.generate("the cat", 5, temperature=0)
    ending = " <eos>" if continuation.ended else ""
    expect(page.locator("blockquote")).to_have_text(f"the cat {continuation.text}{ending}")
    page.get_by_role("button", name="Next seed").click()
    assert page.get_by_label("seed").input_value() == "1"
    expect(page.locator("#continuation")).not_to_have_attribute("aria-busy", "true")
    if continuation.words:
        page.get_by_role("button", name="Append to text").click()
        expect(page.locator("#text")).to_have_value(f"the cat {continuation.text} ")
        wait_for_scores(page, 2 + len(continuation.words))
    page.get_by_label("temperature").fill("0.0001")
    page.get_by_label("temperature").press("Enter")
    expect(page.locator("#continuation .problem")).to_contain_text("temperature must be")
    assert "400" in page.problems.pop()  # the browser logs the failed request, too


def test_markup_in_a_vocabulary_stays_text(page):
    page.locator("#text").press_sequentially("<i")
    assert SCRIPT in listed_words(page, "1 word starts with “<i”")
    page.keyboard.press("Tab")
    expect(page.locator("#text")).to_have_value(f"{SCRIPT} ")
    expect(page.locator("#word h3")).to_have_text(SCRIPT)
    expect(page.locator(".chip .word").first).to_have_text(SCRIPT)
    assert page.title() == "nowhere" and page.locator("img").count() == 0


def test_a_superseded_response_is_ignored(page, bundle):
    held = []
    page.route("**/api/next", lambda route: held.append(route) if len(held) == 0 else route.continue_())
    box = page.locator("#text")
    box.fill("the ")
    page.wait_for_function("document.querySelector('#next').getAttribute('aria-busy') === 'true'")
    page.wait_for_timeout(200)
    assert len(held) == 1
    box.fill("the cat ")
    expected = list(bundle.next_words("the cat", 10).words)
    expect(page.locator("#next .word")).to_have_text(expected)
    late = {"words": [["late", 1.0]], "read": 1, "unknown": [], "rows_opened": 1, "begins": None, "whole": False}
    with suppress(playwright.Error):  # the page may have aborted the request already
        held[0].fulfill(json={**late, "matching": 1, "share": 1.0, "milliseconds": 1})
    page.wait_for_timeout(200)
    expect(page.locator("#next .word")).to_have_text(expected)


def test_a_response_to_deleted_text_is_ignored(page, bundle):
    box, held = page.locator("#text"), []
    box.press_sequentially("the cat ")
    expected = list(bundle.next_words("the cat", 10).words)
    expect(page.locator("#next .word")).to_have_text(expected)
    page.route("**/api/*", lambda route: held.append(route))
    box.press("m")
    page.wait_for_timeout(200)
    box.press("Backspace")
    page.wait_for_timeout(200)
    page.unroute("**/api/*")
    assert held
    for route in held:
        with suppress(playwright.Error):
            route.continue_()
    page.wait_for_timeout(200)
    expect(page.locator("#next .word")).to_have_text(expected)
    expect(page.locator("#next")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator(".chip .word")).to_have_text(["the", "cat", "<eos>"])


def test_a_long_text_does_not_push_the_next_words_off_screen(browser, address):
    page = opened(browser, address, viewport={"width": 1280, "height": 800})
    box, editor = page.locator("#text"), page.locator(".editor")
    assert editor.evaluate("element => element.scrollHeight - element.clientHeight") <= 0
    box.fill("the cat " * 150)
    box.press("End")
    box.press_sequentially("sat")
    below = editor.evaluate("element => element.scrollHeight - element.clientHeight - element.scrollTop")
    assert abs(below) < 60, "the line with the caret is visible"
    assert page.locator("#next li").last.bounding_box()["y"] < 1000
    box.press("Control+Home")
    page.wait_for_function("document.querySelector('.editor').scrollTop < 60")
    assert page.problems == []
    page.context.close()


def test_shows_progress_during_generation(page):
    held = []
    page.route("**/api/generate", lambda route: held.append(route))
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(page.locator("#continuation")).to_have_text("Generating…")
    held[0].continue_()
    expect(page.locator("#continuation blockquote")).to_be_visible()
    expect(page.locator("#continuation")).not_to_contain_text("Generating")


def test_errors_are_displayed(browser):
    with served(tiny_bundle()) as address:
        page = opened(browser, address)
        page.locator("#text").fill("the " * 401)
        expect(page.get_by_role("alert")).to_contain_text("text has 401 words; the limit is 400")
        page.locator("#text").fill("the ")
        expect(page.get_by_role("alert")).to_be_hidden()
        page.route("**/api/**", lambda route: route.abort())
        page.locator("#text").fill("the cat ")
        expect(page.get_by_role("alert")).to_contain_text(
            "No response from the server. Is lightrnn-serve still running?"
        )
        page.unroute("**/api/**")
        page.locator("#text").fill("the cat sat ")
        expect(page.get_by_role("alert")).to_be_hidden()
        page.context.close()


@pytest.mark.parametrize("width", (320, 390, 800, 1280))
def test_fits_the_screen(browser, address, width):
    page = opened(browser, address, viewport={"width": width, "height": 800})
    page.locator("#text").fill("the cat sat on the " + "caterpillar" * 20)
    expect(page.locator(".chip")).to_have_count(7)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    order = page.locator("section").evaluate_all(
        "sections => sections.map(section => section.getBoundingClientRect().top)"
    )
    assert width > 960 or order == sorted(order)
    assert page.problems == []
    page.context.close()


def test_a_model_with_one_code_per_word_shows_no_table(browser):
    with served(tiny_bundle(1)) as address:
        page = opened(browser, address)
        page.locator("#text").fill("the cat ")
        expect(page.locator("#word h3")).to_have_text("cat")
        assert page.locator("#word svg, #word .neighbors").count() == 0
        expect(page.locator("#next-summary")).not_to_contain_text("rows")
        expect(page.locator("#model")).to_contain_text("none (one code per word)")
        assert page.problems == []
        page.context.close()


def test_every_control_has_an_accessible_name(page):
    page.locator("#text").fill("the dog cat")
    expect(page.locator(".chip")).to_have_count(4)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, svg[role], [role=option], [role=toolbar]')]
            .filter(control => !(control.ariaLabel || control.innerText || control.labels?.[0]?.innerText))
            .map(control => control.outerHTML)"""
    )
    assert unnamed == []
    roles = page.evaluate("[...document.querySelector('#next').children].every(option => option.role === 'option')")
    assert roles and page.locator("#text").get_attribute("aria-controls") == "next"
