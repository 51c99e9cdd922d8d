"""Incremental decoding equals scoring whole texts, and top-k search equals brute force, for every model."""

import itertools
from pathlib import Path

import pytest
import torch

from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.inference.decoding import Decoder
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

MODELS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "model").glob("[a-z]*.yaml"))
EMBEDDINGS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "model" / "embedding").glob("*.yaml"))
VOCABULARY = Vocabulary([f"w{number}" for number in range(40)], [*range(80, 60, -1), *range(100, 80, -1)])
CONTEXT = 3


def build(*overrides: str, scale: float = 0.4):
    """A model with random weights: large enough for distinct predictions, small enough to limit rounding errors."""
    config = compose_overrides("model.hidden_dim=40", "model.num_layers=1", f"model.init_scale={scale}", *overrides)
    torch.manual_seed(0)
    return build_model(config, build_allocation(config, VOCABULARY), VOCABULARY).eval()


def combinations():
    for model in MODELS:
        yield (f"model={model}",)
    for embedding, components in itertools.product(EMBEDDINGS, (1, 2, 3)):
        yield "model=lightrnn", f"model/embedding={embedding}", f"model.components={components}"
    for core in ("gru", "rnn", "mingru"):
        yield "model=lightrnn", f"model/core={core}"


def random_text(*shape: int) -> torch.Tensor:
    return torch.randint(40, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("overrides", combinations(), ids="-".join)
def test_incremental_decoding_equals_scoring_of_the_whole_text(overrides):
    model = build(*overrides)
    for dtype, error in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        decoder = Decoder(model.to(dtype), CONTEXT)
        text = random_text(3, 7)
        before = torch.cat([torch.full((3, 1), CONTEXT), text[:, :-1]], 1)
        with torch.no_grad():
            expected, _ = model.score(before, text)
        state = decoder.start(3)
        for position in range(7):
            words = text[:, position]
            dense = decoder.log_probabilities(state)
            assert dense.shape == (3, 40) and dense.dtype == dtype
            torch.testing.assert_close(dense.exp().sum(1), torch.ones(3, dtype=dtype))
            single, stepped = decoder.log_probability_of(state, words), decoder.step(state, words)
            for scores in (single, stepped[0], dense.gather(1, words[:, None])[:, 0]):
                torch.testing.assert_close(scores, expected[:, position], rtol=0, atol=error)
            state = decoder.read(state, words)
            for one, other in zip((state.hidden, *state.core), (stepped[1].hidden, *stepped[1].core), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0)
        at_once = decoder.state_after([row.tolist() for row in text])
        torch.testing.assert_close(at_once.hidden, state.hidden, rtol=0, atol=error)


@pytest.mark.parametrize("overrides", combinations(), ids="-".join)
@pytest.mark.parametrize("k", [1, 5, 100])
def test_top_words_equal_brute_force(overrides, k):
    decoder = Decoder(build(*overrides).double(), CONTEXT)
    state = decoder.state_after([[], [4, 5], [1], [2, 2, 2, 7], [9]])
    values, words = decoder.top(state, k)
    dense = decoder.log_probabilities(state)
    torch.testing.assert_close(values, dense.topk(min(k, 40)).values)
    torch.testing.assert_close(dense.gather(1, words), values)
    assert all(len(set(row)) == min(k, 40) for row in words.tolist())


def test_texts_of_different_lengths_keep_their_order():
    decoder = Decoder(build("model=lightrnn").double(), CONTEXT)
    texts = [[1, 2, 3], [], [4], [5, 6, 7], [8]]
    together = decoder.state_after(texts)
    for index, text in enumerate(texts):
        state = decoder.start(1)
        for word in text:
            state = decoder.read(state, torch.tensor([word]))
        torch.testing.assert_close(together.hidden[index], state.hidden[0])
        for whole, alone in zip(together.core, state.core, strict=True):
            torch.testing.assert_close(whole[:, index], alone[:, 0])
