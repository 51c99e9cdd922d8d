"""The page shows what the bundle contains; text that was read is not read again."""

import math

import pytest
import torch

from lightrnn_pl.serving.facts import model_facts
from lightrnn_pl.serving.reader import Reader
from tests.serving.models import SCRIPT, tiny_bundle

TEXTS = ("", "the", "the cat sat on", "the dog sat", "  the   cat\n", "<eos> the")


@pytest.fixture(params=(1, 2, 3))
def reader(request) -> Reader:
    return Reader(tiny_bundle(request.param))


def all_probabilities(reader: Reader, text: str) -> dict[str, float]:
    """Of every word, from a text read in one piece."""
    bundle = reader.bundle
    state = bundle.decoder.after([bundle.vocabulary.encode(text.split()).tolist()])
    values = bundle.decoder.log_probabilities(state)[0].exp().tolist()
    return dict(zip(bundle.vocabulary.words, values, strict=True))


def test_next_words_are_the_bundles(reader):
    for text in TEXTS:
        answer, expected = reader.next_words(text, 4), reader.bundle.next_words(text, 4)
        assert [word for word, _ in answer["words"]] == list(expected.words)
        assert [value for _, value in answer["words"]] == pytest.approx(expected.probabilities, 1e-5)
        opened = expected.rows_opened if reader.bundle.decoder.num_codes > 1 else None
        assert answer["rows_opened"] == opened
    answer = reader.next_words("the dog sat", 2)
    assert answer["read"] == 3 and answer["unknown"] == [1] and answer["begins"] is None
    assert len(reader.next_words("", 1000)["words"]) == len(reader.bundle.vocabulary)


def test_completions_are_the_likeliest_words_that_begin_so(reader):
    every = all_probabilities(reader, "the")
    for begun, expected in (
        ("cat", {"cat", "cats", "Cat", "caterpillar"}),
        ("CATS", {"cats"}),
        ("É", {"élan", "été"}),
        ("<", {"<unk>", "<eos>", SCRIPT}),
    ):
        answer = reader.next_words(f"the {begun}", 3, complete=True)
        ranked = sorted(expected, key=lambda word: -every[word])
        assert [word for word, _ in answer["words"]] == ranked[:3], begun
        assert [value for _, value in answer["words"]] == pytest.approx([every[word] for word in ranked[:3]], 1e-4)
        assert answer["matching"] == len(expected) and answer["begins"] == begun and answer["read"] == 1
        assert answer["share"] == pytest.approx(sum(every[word] for word in expected), 1e-4)
        assert answer["whole"] == (begun == "cat") and answer["rows_opened"] is None


def test_a_beginning_of_no_word_and_a_finished_word_are_read(reader):
    for text in ("the xyz", "the cat ", "the cat\u00a0", ""):
        answer = reader.next_words(text, 3, complete=True)
        assert answer["begins"] is None and not answer["whole"]
        assert answer["words"] == reader.next_words(text, 3)["words"]


def test_scores_are_the_bundles(reader):
    for text in TEXTS:
        answer = reader.score(text)
        (expected,) = reader.bundle.score([text])
        assert [word["log_probability"] for word in answer["words"]] == pytest.approx(expected, abs=1e-5)
        assert [word["word"] for word in answer["words"]] == [*text.split(), "<eos>"]
        assert [word["end"] for word in answer["words"]] == [False] * len(text.split()) + [True]
        assert answer["log_probability"] == pytest.approx(sum(expected), abs=1e-4)
        assert answer["perplexity"] == pytest.approx(math.exp(-sum(expected) / len(expected)), 1e-4)
    known = {word["word"]: word["known"] for word in reader.score("the dog sat")["words"]}
    assert known == {"the": True, "dog": False, "sat": True, "<eos>": True}


def test_a_keystroke_costs_one_word(reader):
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


def test_forgetting_changes_no_answer():
    short, long = Reader(tiny_bundle(), num_prefixes=2), Reader(tiny_bundle())
    for text in ("the cat sat on the mat", "the cat sat on", "on the", "", "the cat sat on the mat"):
        assert short.score(text) == long.score(text)
        assert short.next_words(text, 3) == long.next_words(text, 3)
    assert short.steps > long.steps


def test_a_word_and_who_shares_its_codes(reader):
    bundle = reader.bundle
    allocation, vocabulary = bundle.model.allocation, bundle.vocabulary
    for word in vocabulary.words:
        answer, number = reader.word(word, limit=2), vocabulary.id(word)
        assert answer["known"] and answer["rank"] == number + 1 and answer["count"] == vocabulary.counts[number]
        if allocation.num_components == 1:
            assert answer["axes"] == []
            continue
        assert [axis["code"] for axis in answer["axes"]] == allocation.codes[number].tolist()
        for place, axis in enumerate(answer["axes"]):
            same = [
                other
                for other in vocabulary.words
                if other != word and allocation.codes[vocabulary.id(other), place] == axis["code"]
            ]
            assert axis["words"] == same[:2] and axis["others"] == len(same)
            assert axis["side"] == allocation.sides[place]


def test_an_unknown_word_and_what_was_meant(reader):
    assert reader.word("caat")["alike"][0] in ("cat", "Cat")
    assert reader.word("CAT")["alike"] == ["Cat", "cat"] or reader.word("CAT")["alike"] == ["cat", "Cat"]
    answer = reader.word("zzzzzz")
    assert not answer["known"] and answer["read_as"] == "<unk>" and answer["alike"] == []


def test_continuations_are_those_of_the_command(reader):
    for options in ({}, {"temperature": 0.0}, {"top_k": 2, "seed": 3}, {"temperature": 0.7, "top_p": 0.5}):
        answer = reader.generate("the cat", 6, **options)
        (expected,) = reader.bundle.generate("the cat", 6, **options)
        assert answer["words"] == list(expected.words) and answer["ended"] == expected.ended
        assert answer["log_probability"] == expected.log_probability


def test_without_an_unknown_word_unknown_words_are_refused():
    reader = Reader(tiny_bundle(unknown=None))
    with pytest.raises(ValueError, match="'dog' is not in the vocabulary"):
        reader.next_words("the dog")
    assert reader.next_words("the ca", complete=True)["begins"] == "ca"
    assert reader.word("dog")["read_as"] is None


def test_facts(tmp_path):
    import json

    from lightrnn_pl.checkpoint import file_hash

    bundle = tiny_bundle()
    path = tmp_path / "run" / "best.ckpt"
    bundle.save(path)
    facts = model_facts(bundle, path)
    assert facts["table"]["sides"] == [4, 4] and facts["table"]["empty_cells"] == 16 - len(bundle.vocabulary)
    assert facts["name"] == "run" and facts["perplexity"] == {"validation": math.exp(1.5), "test": None}
    assert facts["parameters"] == sum(weights.numel() for weights in bundle.model.parameters())
    note = {"name": "noted", "test": {"perplexity": 9.5}, "validation": {"perplexity": 8.5}}
    for sha, name, test in ((file_hash(path), "noted", 9.5), ("of another file", "run", None)):
        (tmp_path / "run" / "metrics.json").write_text(json.dumps({**note, "checkpoint": {"sha256": sha}}))
        facts = model_facts(bundle, path)
        assert facts["name"] == name and facts["perplexity"]["test"] == test
    (tmp_path / "run" / "metrics.json").write_text("[]")
    assert model_facts(bundle, path)["name"] == "run"
    assert model_facts(tiny_bundle(1), path)["table"] is None
    assert model_facts(bundle, tmp_path / "run")["name"] == "run"  # an exported folder


def test_gradients_are_not_kept():
    reader = Reader(tiny_bundle())
    reader.next_words("the cat", 3)
    assert all(not prefix.state.hidden.requires_grad for prefix in reader._prefixes.values())
    assert torch.is_grad_enabled()
