"""Queries give the same results as the bundle, and cached prefixes are not read again."""

import json
import math
from dataclasses import replace

import pytest
import torch

from lightrnn_pl.files import file_hash
from lightrnn_pl.serving.model_info import model_info
from lightrnn_pl.serving.text_reader import TextReader
from tests.serving.models import SCRIPT, tiny_bundle

TEXTS = ("", "the", "the cat sat on", "the dog sat", "  the   cat\n", "<eos> the")


@pytest.fixture(params=(1, 2, 3))
def reader(request) -> TextReader:
    return TextReader(tiny_bundle(request.param))


def all_probabilities(reader: TextReader, text: str) -> dict[str, float]:
    """The probability of every next word, computed by reading the text at once."""
    bundle = reader.bundle
    state = bundle.decoder.state_after([bundle.vocabulary.encode(text.split()).tolist()])
    values = bundle.decoder.log_probabilities(state)[0].exp().tolist()
    return dict(zip(bundle.vocabulary.words, values, strict=True))


def test_next_words_match_the_bundle(reader):
    for text in TEXTS:
        result, expected = reader.next_words(text, 4), reader.bundle.next_words(text, 4)
        assert [word for word, _ in result["words"]] == list(expected.words)
        assert [value for _, value in result["words"]] == pytest.approx(expected.probabilities, 1e-5)
        opened = expected.rows_opened if reader.bundle.decoder.num_codes > 1 else None
        assert result["rows_opened"] == opened
    result = reader.next_words("the dog sat", 2)
    assert result["read"] == 3 and result["unknown"] == [1] and result["begins"] is None
    everything = reader.next_words("", 1000, unknown=True)
    assert len(everything["words"]) == everything["matching"] == len(reader.bundle.vocabulary)
    known = [pair for pair in everything["words"] if pair[0] != "<unk>"]
    assert reader.next_words("", 1000)["words"] == known and reader.next_words("")["matching"] == len(known)


def test_completions_are_the_most_likely_words_with_the_prefix(reader):
    expected_probabilities = all_probabilities(reader, "the")
    for prefix, expected in (
        ("cat", {"cat", "cats", "Cat", "caterpillar"}),
        ("CATS", {"cats"}),
        ("É", {"élan", "été"}),
        ("<", {"<eos>", SCRIPT}),
    ):
        result = reader.next_words(f"the {prefix}", 3, complete=True)
        ranked = sorted(expected, key=lambda word: -expected_probabilities[word])
        assert [word for word, _ in result["words"]] == ranked[:3], prefix
        assert [value for _, value in result["words"]] == pytest.approx(
            [expected_probabilities[word] for word in ranked[:3]], 1e-4
        )
        assert result["matching"] == len(expected) and result["begins"] == prefix and result["read"] == 1
        assert result["share"] == pytest.approx(sum(expected_probabilities[word] for word in expected), 1e-4)
        assert result["whole"] == (prefix == "cat") and result["rows_opened"] is None


def test_unmatched_prefixes_and_complete_words_are_read(reader):
    for text in ("the xyz", "the cat ", "the cat\u00a0", ""):
        result = reader.next_words(text, 3, complete=True)
        assert result["begins"] is None and not result["whole"]
        assert result["words"] == reader.next_words(text, 3)["words"]


def test_scores_match_the_bundle(reader):
    for text in TEXTS:
        result = reader.score(text)
        (expected,) = reader.bundle.score([text])
        assert [word["log_probability"] for word in result["words"]] == pytest.approx(expected, abs=1e-5)
        assert [word["word"] for word in result["words"]] == [*text.split(), "<eos>"]
        assert [word["end"] for word in result["words"]] == [False] * len(text.split()) + [True]
        assert result["log_probability"] == pytest.approx(sum(expected), abs=1e-4)
        assert result["perplexity"] == pytest.approx(math.exp(-sum(expected) / len(expected)), 1e-4)
    known = {word["word"]: word["known"] for word in reader.score("the dog sat")["words"]}
    assert known == {"the": True, "dog": False, "sat": True, "<eos>": True}


def test_appending_a_word_takes_one_step(reader):
    reader.next_words("the cat sat on the", 3)
    assert reader.steps == 5
    reader.score("the cat sat on the")
    reader.next_words("the cat sat on the ma", 3, complete=True)
    assert reader.steps == 5
    reader.next_words("the cat sat on the mat", 3)
    assert reader.steps == 6
    reader.next_words("the cat sat", 3)
    assert reader.steps == 6
    reader.next_words("the cat the", 3)
    assert reader.steps == 7


def test_a_small_cache_gives_the_same_results():
    short, long = TextReader(tiny_bundle(), num_prefixes=2), TextReader(tiny_bundle())
    for text in ("the cat sat on the mat", "the cat sat on", "on the", "", "the cat sat on the mat"):
        assert short.score(text) == long.score(text)
        assert short.next_words(text, 3) == long.next_words(text, 3)
    assert short.steps > long.steps


def test_word_lookup_returns_codes_and_neighbors(reader):
    bundle = reader.bundle
    allocation, vocabulary = bundle.model.allocation, bundle.vocabulary
    for word in vocabulary.words:
        result, word_id = reader.word(word, limit=2), vocabulary.id(word)
        assert result["known"] and result["rank"] == word_id + 1 and result["count"] == vocabulary.counts[word_id]
        if allocation.num_components == 1:
            assert result["axes"] == []
            continue
        assert [axis["code"] for axis in result["axes"]] == allocation.codes[word_id].tolist()
        for index, axis in enumerate(result["axes"]):
            same = [
                other
                for other in vocabulary.words
                if other != word and allocation.codes[vocabulary.id(other), index] == axis["code"]
            ]
            assert axis["words"] == same[:2] and axis["others"] == len(same)
            assert axis["side"] == allocation.sides[index]


def test_unknown_words_have_similar_words(reader):
    assert reader.word("caat")["alike"][0] in ("cat", "Cat")
    assert reader.word("CAT")["alike"] == ["Cat", "cat"] or reader.word("CAT")["alike"] == ["cat", "Cat"]
    result = reader.word("zzzzzz")
    assert not result["known"] and result["read_as"] == "<unk>" and result["alike"] == []


def test_continuations_match_the_bundle(reader):
    for options in ({}, {"temperature": 0.0}, {"top_k": 2, "seed": 3}, {"temperature": 0.7, "top_p": 0.5}):
        result = reader.generate("the cat", 6, **options)
        (expected,) = reader.bundle.generate("the cat", 6, **options)
        assert result["words"] == list(expected.words) and result["ended"] == expected.ended
        assert result["log_probability"] == expected.log_probability


def test_unknown_words_are_rejected_without_an_unknown_token():
    reader = TextReader(tiny_bundle(unknown=None))
    with pytest.raises(ValueError, match="'dog' is not in the vocabulary"):
        reader.next_words("the dog")
    assert reader.next_words("the ca", complete=True)["begins"] == "ca"
    assert reader.word("dog")["read_as"] is None


def test_model_info(tmp_path):
    bundle = tiny_bundle()
    path = tmp_path / "run" / "best.ckpt"
    bundle.save(path)
    info = model_info(bundle, path)
    assert info["table"]["sides"] == [4, 4] and info["table"]["empty_cells"] == 16 - len(bundle.vocabulary)
    assert info["name"] == "run" and info["perplexity"] == {"validation": math.exp(1.5), "test": None}
    assert info["parameters"] == sum(weights.numel() for weights in bundle.model.parameters())
    metrics = {"name": "recorded", "test": {"perplexity": 9.5}, "validation": {"perplexity": 8.5}}
    for sha256, name, test in ((file_hash(path), "recorded", 9.5), ("of another file", "run", None)):
        (tmp_path / "run" / "metrics.json").write_text(json.dumps({**metrics, "checkpoint": {"sha256": sha256}}))
        info = model_info(bundle, path)
        assert info["name"] == name and info["perplexity"]["test"] == test
    (tmp_path / "run" / "metrics.json").write_text("[]")
    assert model_info(bundle, path)["name"] == "run"
    assert model_info(tiny_bundle(1), path)["table"] is None
    assert model_info(bundle, tmp_path / "run")["name"] == "run"  # an exported folder


def test_cached_states_do_not_require_gradients():
    reader = TextReader(tiny_bundle())
    reader.next_words("the cat", 3)
    assert all(not prefix.state.hidden.requires_grad for prefix in reader._prefixes.values())
    assert torch.is_grad_enabled()


def test_text_is_tokenized_like_the_training_text():
    bundle = replace(tiny_bundle(), tokenizer="ptb")
    reader, tokenized = TextReader(bundle), TextReader(tiny_bundle())
    result = reader.next_words("The cat, (sat) 3", 4)
    assert result["words"] == tokenized.next_words("the cat sat N", 4)["words"] and result["read"] == 4
    scores = [{**word, "word": ""} for word in tokenized.score("the cat sat N")["words"]]
    assert [{**word, "word": ""} for word in reader.score("The cat, (sat) 3")["words"]] == scores
    assert [word["word"] for word in reader.score("The cats' 3")["words"]] == ["the", "cats", "'", "N", "<eos>"]
    assert reader.generate("The cat,", 5) == tokenized.generate("the cat", 5)


def test_the_last_word_is_completed_unless_another_character_follows_it():
    reader = TextReader(replace(tiny_bundle(), tokenizer="ptb"))
    assert reader.next_words("The CAT", complete=True)["begins"] == "cat"
    for text in ("The CAT ", "The cat,", "the 3"):
        assert reader.next_words(text, complete=True)["begins"] is None
