"""The vocabulary and the rules that select its words."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.vocabulary import Vocabulary, VocabularyRules

TEXT = Counter({"a": 5, "b": 3, "c": 3, "d": 1, "e": 1, "<eos>": 4})
WORDS = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=4)


def test_sorts_words_by_count_then_alphabetically():
    vocabulary = VocabularyRules().build(TEXT)
    assert vocabulary.words == ("a", "<eos>", "b", "c", "d", "e", "<unk>")
    assert vocabulary.counts.tolist() == [5, 4, 3, 3, 1, 1, 0]
    assert vocabulary.counts.dtype == np.int64
    assert (vocabulary.unknown_id, vocabulary.begin_id, vocabulary.end_id) == (6, None, 1)


def test_adds_counts_of_dropped_words_to_the_unknown_word():
    vocabulary = VocabularyRules(min_count=2).build(TEXT + Counter({"<unk>": 2}))
    assert vocabulary.words == ("a", "<eos>", "<unk>", "b", "c")
    assert vocabulary.counts.tolist() == [5, 4, 4, 3, 3]
    assert vocabulary.id("d") == vocabulary.unknown_id == 2


def test_max_size_includes_markers():
    vocabulary = VocabularyRules(max_size=4, begin="<s>").build(TEXT)
    assert sorted(vocabulary.words) == ["<eos>", "<s>", "<unk>", "a"]
    assert len(VocabularyRules(max_size=4).build(TEXT)) == 4
    assert len(VocabularyRules(max_size=100).build(TEXT)) == 7


@given(st.dictionaries(WORDS, st.integers(1, 9)), st.integers(1, 4), st.one_of(st.none(), st.integers(3, 9)))
def test_counts_every_token(counts, min_count, max_size):
    vocabulary = VocabularyRules(min_count=min_count, max_size=max_size).build(counts)
    assert vocabulary.counts.sum() == sum(counts.values())
    assert len(vocabulary) <= (max_size or len(vocabulary))
    assert list(vocabulary.counts) == sorted(vocabulary.counts, reverse=True)
    for word in counts:
        assert vocabulary.decode([vocabulary.id(word)]) == [word if word in vocabulary else "<unk>"]


def test_without_unknown_word_all_words_are_required():
    vocabulary = VocabularyRules(unknown=None).build(TEXT)
    assert "<unk>" not in vocabulary
    with pytest.raises(ValueError, match=r"'z' is not in the vocabulary.*data\.vocabulary\.unknown"):
        vocabulary.encode(["a", "z"])
    with pytest.raises(ValueError, match=r"drop 2 training tokens.*unknown is null"):
        VocabularyRules(unknown=None, min_count=2).build(TEXT)


@pytest.mark.parametrize("name", ["words.txt", "saved"])
def test_vocabulary_file_determines_the_words(tmp_path, name):
    path = tmp_path / name
    if name == "saved":
        Vocabulary(["z", "a"], [9, 8]).save(path)
    else:
        path.write_text("a\nz\n\n")
    rules = VocabularyRules(min_count=7, file=str(path))
    vocabulary = rules.build(TEXT)
    assert vocabulary.words == ("<unk>", "a", "<eos>", "z")
    assert vocabulary.counts.tolist() == [8, 5, 4, 0]
    before = rules.fingerprint()
    path.write_text("a\n")
    assert rules.fingerprint() != before


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"min_count": 0}, "min_count must be an integer greater than or equal to 1, got 0"),
        ({"max_size": 2}, r"max_size=2 leaves no space.*at least 3"),
        ({"unknown": "a b"}, "unknown='a b' must be one word"),
        ({"end": ""}, "end='' must be one word"),
        ({"file": "x", "max_size": 9}, r"max_size=9 cannot be combined with .*file=x"),
    ],
)
def test_rejects_invalid_rules(rules, message):
    with pytest.raises(ValueError, match=message):
        VocabularyRules(**rules)


def test_rejects_invalid_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.vocabulary\.file=nowhere"):
        VocabularyRules(file="nowhere").build(TEXT)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="contains no words"):
        VocabularyRules(file=str(tmp_path / "empty")).build(TEXT)
    (tmp_path / "bytes").write_bytes(b"a\nb\xff\n")
    with pytest.raises(ValueError, match="line 2: not UTF-8"):
        VocabularyRules(file=str(tmp_path / "bytes")).build(TEXT)
    with pytest.raises(ValueError, match="not a lightrnn_pl vocabulary file"):
        Vocabulary.load(tmp_path / "empty")
    VocabularyRules().build(TEXT).save(tmp_path / "cut")
    (tmp_path / "cut").write_text((tmp_path / "cut").read_text()[:-3])
    with pytest.raises(ValueError, match="line 8: expected word"):
        Vocabulary.load(tmp_path / "cut")


@pytest.mark.parametrize(
    ("words", "counts", "message"),
    [
        (["a", "a"], [1, 1], "'a' is duplicated"),
        (["a", "b c"], [1, 1], "'b c' is not a valid word"),
        (["a", ""], [1, 1], "'' is not a valid word"),
        (["a"], [1, 2], r"counts must have shape \(1,\), one per word, got \(2,\)"),
    ],
)
def test_rejects_invalid_words(words, counts, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(words, counts)


def test_rejects_a_marker_that_is_not_a_word():
    with pytest.raises(ValueError, match="marker '<s>' is not in the vocabulary"):
        Vocabulary(["a"], [1], begin="<s>")


@settings(deadline=None)
@given(st.lists(WORDS, unique=True, max_size=20))
def test_round_trips_through_files_and_checkpoints(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("vocabulary")
    vocabulary = Vocabulary([*words, "<end-marker>"], range(len(words) + 1), end="<end-marker>")
    vocabulary.save(folder / "vocabulary")
    torch.save(vocabulary.state_dict(), folder / "state")
    for other in (
        Vocabulary.load(folder / "vocabulary"),
        Vocabulary.from_state_dict(torch.load(folder / "state", weights_only=True)),
    ):
        assert other.words == vocabulary.words
        assert other.counts.tolist() == vocabulary.counts.tolist()
        assert (other.unknown, other.begin, other.end) == (None, None, "<end-marker>")
        assert other.fingerprint() == vocabulary.fingerprint()


def test_fingerprint_depends_on_words_and_markers_only():
    fingerprints = {
        Vocabulary(["a", "b"], [2, 1]).fingerprint(),
        Vocabulary(["b", "a"], [2, 1]).fingerprint(),
        Vocabulary(["a", "b"], [2, 1], end="b").fingerprint(),
    }
    assert len(fingerprints) == 3
    assert Vocabulary(["a", "b"], [3, 3]).fingerprint() in fingerprints


def test_encodes_and_decodes():
    vocabulary = VocabularyRules().build(TEXT)
    ids = vocabulary.encode(["a", "unseen", "<eos>"])
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == ["a", "<unk>", "<eos>"]
    assert "a" in vocabulary and "unseen" not in vocabulary and len(vocabulary) == 7
