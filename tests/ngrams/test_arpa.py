"""ARPA files: round trips, files with other spacing and order, and errors for damaged files."""

import gzip
import math

import numpy as np
import pytest

from lightrnn_pl.ngrams.arpa import read_arpa, write_arpa
from lightrnn_pl.ngrams.kneser_ney import estimate_kneser_ney
from lightrnn_pl.ngrams.ngram_model import ABSENT
from tests.ngrams.ngram_texts import END, WORDS, ids_of, random_lines

SMALL = """\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-0.5\ta\t-0.2
-0.6\tb\t-0.1
-0.7\t</s>

\\2-grams:
-0.4 <s> b -0.25
-0.2\ta b\t-0.05
-0.3\t<s> a\t0

\\3-grams:
-0.1\t<s> a b

\\end\\
"""


def slow_score(listed: dict, context: tuple, word: str) -> float:
    """Base-10 score by the definition of back-off.  ``listed`` maps n-grams to (log-probability, back-off weight)."""
    if (*context, word) in listed:
        return listed[(*context, word)][0]
    return listed.get(context, (0, 0.0))[1] + slow_score(listed, context[1:], word)


@pytest.fixture
def model():
    estimated, _ = estimate_kneser_ney(ids_of(random_lines(0)), len(WORDS), END, order=4)
    return type(estimated)(estimated.levels, estimated.begin, estimated.end, (*WORDS, "<s>"))


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_round_trip(model, tmp_path, name):
    write_arpa(model, tmp_path / name)
    back = read_arpa(tmp_path / name)
    assert back.words == model.words and (back.begin, back.end) == (model.begin, model.end)
    for actual, expected in zip(back.levels, model.levels, strict=True):
        assert np.array_equal(actual.keys, expected.keys)
        assert np.allclose(actual.log_probability, expected.log_probability, atol=2e-7)
        assert np.allclose(actual.backoff, expected.backoff, atol=2e-7)
    content = (tmp_path / name).read_bytes()
    assert (content[:2] == b"\x1f\x8b") == name.endswith(".gz")
    write_arpa(model, tmp_path / name)
    assert (tmp_path / name).read_bytes() == content and len(list(tmp_path.iterdir())) == 1


def test_scores_follow_the_definition_of_back_off(tmp_path):
    (tmp_path / "a.arpa").write_text(SMALL)
    model = read_arpa(tmp_path / "a.arpa")
    listed = {}
    for line in SMALL.splitlines():
        fields = line.split()
        if fields and fields[0].startswith("-") and fields[0] != "-99":
            words = [word for word in fields[1:] if word in model.words]
            listed[tuple(words)] = float(fields[0]), float(fields[-1]) if len(fields) > len(words) + 1 else 0.0
    listed[("<s>",)] = -99, -0.3
    lines = ["a b </s>", "b a b b </s>", "</s>", "<unk> a </s>", "b <unk> b a a </s>"]
    tokens = np.array([model.words.index(word) for line in lines for word in line.split()])
    expected = [
        slow_score(listed, ("<s>", *line.split()[:index])[-2:], word)
        for line in lines
        for index, word in enumerate(line.split())
    ]
    assert model.log_probabilities(tokens) / math.log(10) == pytest.approx(expected, abs=1e-12)


def test_unlisted_word_has_probability_zero_and_resets_the_context(tmp_path):
    (tmp_path / "a.arpa").write_text(SMALL)
    model = read_arpa(tmp_path / "a.arpa")
    a, b, end = (model.words.index(word) for word in ("a", "b", "</s>"))
    scores = model.log_probabilities(np.array([a, ABSENT, b, end])) / math.log(10)
    assert scores.tolist() == pytest.approx([-0.3, -math.inf, -0.6, -0.8])


def test_without_a_begin_marker_lines_start_without_context(tmp_path):
    text = SMALL.replace("<s>", "c").replace("-99\tc", "-2\tc")
    (tmp_path / "a.arpa").write_text(text)
    model = read_arpa(tmp_path / "a.arpa")
    a, b, end = (model.words.index(word) for word in ("a", "b", "</s>"))
    assert model.begin == ABSENT
    scores = model.log_probabilities(np.array([a, b, end, a, b, end])) / math.log(10)
    assert scores.tolist() == pytest.approx([-0.5, -0.2, -0.05 - 0.1 - 0.7] * 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", "line 1: an ARPA file must begin with"),
        ("ngram 2=3", "ngram 2=2", "line 16: expected the section \\\\3-grams: after the 2 2-grams"),
        ("ngram 2=3", "ngram 2=4", "expected a 2-gram with its log-probability"),
        ("ngram 3=1", "ngram 4=1", "expected the number of 3-grams"),
        ("-0.2\ta b", "-0.2x\ta b", "-0.2x"),
        ("-0.2\ta b", "-0.2\ta d", "'d' of a 2-gram is not among the 1-grams"),
        ("-0.1\t<s> a b", "-0.1\tb a b", "'b a b' without its prefix, the 2-gram"),
        ("-0.4 <s> b", "-0.4 <s> a", "a duplicate 2-gram"),
        ("-0.6\tb", "-0.6\ta", "a duplicate 1-gram"),
        ("\\end\\", "", "expected \\\\end"),
    ],
)
def test_reports_damaged_files(tmp_path, old, new, message):
    assert old in SMALL
    (tmp_path / "a.arpa").write_text(SMALL.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_arpa(tmp_path / "a.arpa")


def test_reports_missing_and_truncated_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.arpa"):
        read_arpa(tmp_path / "nowhere.arpa")
    packed = gzip.compress(SMALL.encode())
    (tmp_path / "cut.arpa.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"cut\.arpa\.gz is damaged or truncated"):
        read_arpa(tmp_path / "cut.arpa.gz")


def test_writing_requires_names_of_all_words(model, tmp_path):
    unnamed = type(model)(model.levels, model.begin, model.end)
    with pytest.raises(ValueError, match="needs the names of all 15 words, got 0"):
        write_arpa(unnamed, tmp_path / "a.arpa")
    ambiguous = type(model)(model.levels, model.begin, model.end, ("<s>", *model.words[1:]))
    with pytest.raises(ValueError, match="is not a marker of the model"):
        write_arpa(ambiguous, tmp_path / "a.arpa")
    assert not list(tmp_path.iterdir())
