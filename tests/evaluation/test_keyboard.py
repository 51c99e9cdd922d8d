"""Keyboard numbers equal a slow reference that types every word letter by letter."""

from itertools import islice

import numpy as np
import pytest

from lightrnn_pl import load
from lightrnn_pl.evaluation.keyboard import KeyboardMeter, measure_keyboard
from lightrnn_pl.evaluation.perplexity import BIN_EDGES
from lightrnn_pl.evaluation.text_data import own_datamodule
from lightrnn_pl.training.experiment import train
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_run

WORDS = ["<eos>", "The", "the", "<unk>", "then", "cat", "catch", "a", "at", "dog"]
VOCABULARY = Vocabulary(WORDS, [500, 400, 300, 100, 50, 20, 9, 5, 2, 0], unknown="<unk>", end="<eos>")


def slow_suggestions(scores: np.ndarray, prefix: str, number: int) -> list[str]:
    words = [
        word
        for word in WORDS
        if word not in ("<eos>", "<unk>")
        and word.lower().startswith(prefix.lower())
        and scores[WORDS.index(word)] > -np.inf
    ]
    return sorted(words, key=lambda word: (-scores[WORDS.index(word)], WORDS.index(word)))[:number]


def slow_numbers(scores: np.ndarray, words: list[str]) -> dict:
    rows = []
    for row, word in zip(scores, words, strict=True):
        if word == "<eos>":
            continue
        strokes = len(word) + 1
        for length in range(len(word)):
            if word in slow_suggestions(row, word[:length], 3):
                strokes = length + 1
                break
        top = [word in slow_suggestions(row, "", number) for number in (1, 3, 5)]
        rows.append((*top, len(word) + 1 - strokes, len(word) + 1, word != "<unk>"))
    top = np.array([row[:3] for row in rows]).mean(0).tolist()
    typed = [(saved, total) for *_, saved, total, known in rows if known]
    saved, total = (sum(column) for column in zip(*typed, strict=True)) if typed else (0, 1)
    return {"words": len(rows), "top": top, "saved": saved / total}


@pytest.mark.parametrize("rounded", [False, True])
def test_equals_typing_every_word(rounded):
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(80, 10))
    scores = scores.round() if rounded else scores  # many equally likely words
    words = generator.integers(0, 10, 80)
    meter = KeyboardMeter(VOCABULARY)
    for part in (slice(0, 3), slice(3, 80)):
        meter.add(scores[part], words[part])
    spelled = VOCABULARY.decode(words)
    total = meter.total()
    slow = slow_numbers(scores, spelled)
    assert [total.top1, total.top3, total.top5] == pytest.approx(slow["top"]) and total.words == slow["words"]
    assert total.keystroke_savings == pytest.approx(slow["saved"]) and total.keystroke_savings > 0.2
    bins = meter.bins()
    assert sum(each.words for each in bins) == total.words
    for each in bins:
        above = next((edge for edge in BIN_EDGES if edge > each.at_least), np.inf)
        inside = [each.at_least <= count < above for count in VOCABULARY.counts[words]]
        slow = slow_numbers(scores[inside], [word for word, chosen in zip(spelled, inside, strict=True) if chosen])
        assert each.top3 == pytest.approx(slow["top"][1]) and each.keystroke_savings == pytest.approx(slow["saved"])


@pytest.mark.parametrize(
    "overrides", [(), ("model=row_word_adaptive", "reallocation=none"), ("model=full", "data.batching=sentence")]
)
def test_a_model_reads_the_text_as_in_evaluation(overrides, tiny_text, tmp_path):
    train(compose_run(tmp_path / "run", tiny_text, *overrides, "trainer.max_steps=2"))
    bundle = load(tmp_path / "run")
    # The state is carried over from one window to the next; more windows take long, because all words are scored.
    windows = list(islice(own_datamodule(bundle).loader_for(bundle.vocabulary, "test"), 2))
    meter, expected = KeyboardMeter(bundle.vocabulary), measure_keyboard(bundle.decoder, bundle.vocabulary, windows)
    core = None
    for inputs, targets, mask, reset in windows:
        # Each row of the window is read again from the state before the window.
        for column in range(inputs.shape[1]):
            every = np.stack(
                [
                    bundle.model.score(inputs[:, : column + 1], word_at_end(targets, column, word), core, reset)[0][
                        :, -1
                    ]
                    .detach()
                    .numpy()
                    for word in range(len(bundle.vocabulary))
                ],
                1,
            )
            counted = mask[:, column].numpy()
            meter.add(every[counted], targets[:, column].numpy()[counted])
        _, core = bundle.model.hidden(inputs, targets, core, reset)
    assert meter.total().words == expected.total().words
    for name in ("top1", "top3", "top5", "keystroke_savings"):
        assert getattr(meter.total(), name) == pytest.approx(getattr(expected.total(), name), abs=0.01)
    some = measure_keyboard(bundle.decoder, bundle.vocabulary, windows, 20)
    assert 0 < some.total().words < expected.total().words


def word_at_end(targets, column: int, word: int):
    changed = targets[:, : column + 1].clone()
    changed[:, -1] = word
    return changed
