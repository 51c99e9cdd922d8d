"""Generation: sampling follows the requested distribution, beam search is exact, and seeds are reproducible."""

import itertools
import math

import pytest
import torch

from lightrnn_pl.inference import top_k
from lightrnn_pl.inference.decoding import Decoder
from lightrnn_pl.inference.generation import Sampling, beam_search, continue_text
from tests.inference.models import VOCABULARY, build, sharpened

NUM_SAMPLES = 8_000


def frequencies(words: torch.Tensor) -> torch.Tensor:
    return torch.bincount(words, minlength=60).double() / len(words)


def expected(decoder: Decoder, state, temperature: float, excluded: list[int]) -> torch.Tensor:
    scores = decoder.log_probabilities(state)[0] / temperature
    scores[excluded] = -torch.inf
    return scores.softmax(-1)


def assert_distribution(words: torch.Tensor, probabilities: torch.Tensor) -> None:
    """Frequencies match the probabilities within five standard deviations (plus one sample)."""
    assert not (words[:, None] == (probabilities == 0).nonzero()[:, 0]).any()
    tolerance = 5 * (probabilities * (1 - probabilities) / len(words)).sqrt() + 1 / len(words)
    assert ((frequencies(words) - probabilities).abs() <= tolerance).all()


@pytest.mark.parametrize("sides", [(60,), (8, 8), (3, 30), (4, 4, 5)])
@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 1.7, 6.0])
def test_samples_follow_the_tempered_distribution(sides, temperature):
    decoder = Decoder(sharpened(build(sides), 2.0), 1)
    state = decoder.state_after([[5]])
    many = state.select(torch.zeros(NUM_SAMPLES, dtype=torch.int64))
    words = decoder.sample(many, torch.Generator().manual_seed(0), temperature, [0, 7])
    assert_distribution(words, expected(decoder, state, temperature, [0, 7]))


def test_falls_back_to_all_words_if_proposals_are_rejected(monkeypatch):
    monkeypatch.setattr(top_k, "_PROPOSALS", (1,))
    decoder = Decoder(sharpened(build((8, 8)), 2.0), 1)
    state = decoder.state_after([[5]])
    likely = decoder.top(state, 30)[1][0].tolist()
    many = state.select(torch.zeros(2_000, dtype=torch.int64))
    words = decoder.sample(many, torch.Generator().manual_seed(0), 0.7, likely)
    assert_distribution(words, expected(decoder, state, 0.7, likely))


@pytest.mark.parametrize("sides", [(60,), (8, 8)])
def test_top_k_and_top_p_sampling(monkeypatch, sides):
    monkeypatch.setattr("lightrnn_pl.inference.generation._INITIAL_NUCLEUS_SIZE", 2)
    decoder = Decoder(sharpened(build(sides), 2.0), 1)
    state = decoder.state_after([[5]])
    many = state.select(torch.zeros(NUM_SAMPLES, dtype=torch.int64))
    likely = decoder.top(state, 60)[1][0]
    excluded = [int(likely[1])]
    untempered = expected(decoder, state, 1.0, excluded)
    ranked = untempered.sort(descending=True)
    for sampling, size in (
        (Sampling(0.8, top_k=5), 5),
        (Sampling(0.8, top_p=0.6), int((ranked.values.cumsum(0) < 0.6).sum()) + 1),
        (Sampling(0.8, top_k=3, top_p=0.6), 3),
        (Sampling(0.8, top_p=1e-9), 1),
    ):
        probabilities = expected(decoder, state, 0.8, excluded)
        probabilities[ranked.indices[size:]] = 0
        sampled = sampling.choose(decoder, many, torch.Generator().manual_seed(0), excluded)
        assert_distribution(sampled, probabilities / probabilities.sum())
        assert len(sampled.unique()) == size


@pytest.mark.parametrize("sides", [(60,), (8, 8), (4, 4, 5)])
@pytest.mark.parametrize("stop", [True, False])
def test_one_beam_is_greedy(sides, stop):
    decoder = Decoder(sharpened(build(sides), 2.0), 1)
    for prompt in ("", "w1", "w2 w3"):
        (greedy,) = continue_text(decoder, VOCABULARY, prompt, 12, Sampling(0), stop=stop)
        (beam,) = beam_search(decoder, VOCABULARY, prompt, 12, beams=1, stop=stop)
        assert greedy.words == beam.words and greedy.ended == beam.ended
        assert greedy.log_probability == pytest.approx(beam.log_probability)


def test_a_wide_beam_finds_the_most_likely_continuations():
    decoder = Decoder(build((8, 8)), VOCABULARY.context_id)
    end = VOCABULARY.end_id
    start = decoder.state_after([[2]])
    first = decoder.log_probabilities(start)[0]
    after = start.select(torch.zeros(60, dtype=torch.int64))
    both = first[:, None] + decoder.log_probabilities(decoder.read(after, torch.arange(60)))
    scores = {(end,): float(first[end])}
    allowed = [word for word in range(60) if word != VOCABULARY.unknown_id]
    for pair in itertools.product([word for word in allowed if word != end], allowed):
        scores[pair] = float(both[pair])
    best = sorted(scores, key=lambda words: -scores[words])[:60]
    beams = beam_search(decoder, VOCABULARY, VOCABULARY.words[2], 2, beams=60)
    assert [beam.log_probability for beam in beams] == pytest.approx([scores[words] for words in best])
    assert [beam.ended for beam in beams] == [words[-1] == end for words in best]
    for beam, words in zip(beams, best, strict=True):
        assert beam.words == tuple(VOCABULARY.decode(word for word in words if word != end))


def test_reports_the_probability_of_the_words():
    decoder = Decoder(sharpened(build((8, 8)), 0.2), VOCABULARY.context_id)
    continuations = continue_text(decoder, VOCABULARY, "w1 w2", 25, Sampling(1.5), seed=4, samples=12)
    assert {continuation.ended for continuation in continuations} == {True, False}
    for continuation in continuations:
        ids = [*VOCABULARY.encode(continuation.words).tolist(), *([VOCABULARY.end_id] * continuation.ended)]
        state, total = decoder.state_after([VOCABULARY.encode(["w1", "w2"]).tolist()]), 0.0
        for word in torch.tensor(ids)[:, None]:
            total += float(decoder.log_probability_of(state, word))
            state = decoder.read(state, word)
        assert continuation.log_probability == pytest.approx(total)
        assert continuation.text == " ".join(continuation.words) and "<eos>" not in continuation.words


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7), Sampling(top_k=5), Sampling(top_p=0.5), Sampling(0)])
def test_seed_is_reproducible(sampling):
    decoder = Decoder(build((8, 8)), VOCABULARY.context_id)
    torch.manual_seed(0)
    continuations = continue_text(decoder, VOCABULARY, "w1", 10, sampling, seed=3, samples=4)
    torch.manual_seed(1)
    assert continuations == continue_text(decoder, VOCABULARY, "w1", 10, sampling, seed=3, samples=4)
    other = continue_text(decoder, VOCABULARY, "w1", 10, sampling, seed=4, samples=4)
    assert (continuations == other) == (sampling.temperature == 0)


def test_generates_unknown_words_only_on_request():
    decoder = Decoder(sharpened(build((8, 8)), 0.2), VOCABULARY.context_id)

    def generated(**options):
        continuations = continue_text(decoder, VOCABULARY, "", 40, Sampling(), samples=20, stop=False, **options)
        assert all(len(continuation.words) == 40 and not continuation.ended for continuation in continuations)
        return {word for continuation in continuations for word in continuation.words}

    assert "<unk>" not in generated() and "<unk>" in generated(unknown=True)
    assert "<eos>" in generated()


def test_never_generates_a_begin_marker():
    vocabulary = type(VOCABULARY)(VOCABULARY.words, VOCABULARY.counts, "<unk>", "w0", "<eos>")
    decoder = Decoder(sharpened(build((8, 8)), 0.2), vocabulary.context_id)
    continuations = continue_text(decoder, vocabulary, "", 40, Sampling(), samples=20, stop=False)
    assert "w0" not in {word for continuation in continuations for word in continuation.words}


def test_rejects_invalid_arguments():
    for options, message in (
        ({"temperature": -0.1}, "temperature must be 0 .* got -0.1"),
        ({"temperature": math.inf}, "got inf"),
        ({"temperature": 1e-9}, "got 1e-09"),
        ({"top_k": 0}, "top_k must be an integer greater than or equal to 1, got 0"),
        ({"top_p": 0.0}, "top_p must be a ratio above 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "got 1.1"),
        ({"top_p": "most"}, "top_p must be a ratio .* got most"),
        ({"temperature": "hot"}, "temperature must be a finite number, got hot"),
        ({"temperature": None}, "got None"),
    ):
        with pytest.raises(ValueError, match=message):
            Sampling(**options)
    decoder = Decoder(build((8, 8)), 1)
    for options, message in (
        ({"seed": "x"}, "seed must be an integer greater than or equal to 0, got x"),
        ({"stop": "maybe"}, "stop must be true or false, got maybe"),
        ({"unknown": 1}, "unknown must be true or false, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            continue_text(decoder, VOCABULARY, "w1", 3, **options)
    with pytest.raises(ValueError, match="stop must be true or false"):
        beam_search(decoder, VOCABULARY, "w1", 3, stop="no")
