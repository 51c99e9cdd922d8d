"""The neural cache compared with a loop over all words of the vocabulary."""

import math

import numpy as np
import pytest
import torch

from lightrnn_pl.evaluation.neural_cache import NeuralCache, neural_cache_losses, tune_neural_cache
from lightrnn_pl.evaluation.perplexity import word_losses
from tests.evaluation.slow_perplexity import prepare

CPU = torch.device("cpu")


def slow_distributions(model, loader, cache: NeuralCache) -> tuple[list[int], np.ndarray]:
    """The targets, and the mixture of model and cache over the vocabulary before each of them, (N, V)."""
    words, targets, result = torch.arange(model.allocation.num_words), [], []
    streams = [(None, []) for _ in range(len(next(iter(loader)).inputs))]
    for batch in loader:
        for row in range(len(batch.inputs)):
            state, seen = streams[row]
            for word, target, counts in zip(batch.inputs[row], batch.targets[row], batch.mask[row], strict=True):
                before = None if state is None else tuple(part.repeat(1, len(words), 1) for part in state)
                with torch.no_grad():
                    scores, states = model.score(word.repeat(len(words))[:, None], words[:, None], before)
                    hidden, _ = model.hidden(word.view(1, 1), target.view(1, 1), state)
                query, plain = hidden[0, 0].numpy(), scores[:, 0].exp().numpy()
                similar = np.zeros(len(words))
                for key, value in seen[-cache.words :]:
                    if value is not None:
                        similar[value] += math.exp(cache.theta * float(query @ key))
                cached = similar / similar.sum() if similar.any() else plain
                if counts:
                    targets.append(int(target))
                    result.append((1 - cache.weight) * plain + cache.weight * cached)
                seen.append((query, int(target) if counts else None))
                state = tuple(part[:, target : target + 1] for part in states)
            streams[row] = state, seen
    return targets, np.array(result)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["model=full"], id="full"),
        pytest.param([], id="lightrnn"),
        pytest.param(
            ["model=row_word", "model.hidden_dim=10", "model.steps_per_word=1", "data.vocabulary.begin='<s>'"],
            id="one step",
        ),
    ],
)
def test_equals_a_loop_over_the_vocabulary(overrides, tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "data.vocabulary.min_count=20", *overrides)
    model = model.double().eval()
    cache = NeuralCache(words=9, theta=1.5, weight=0.3)  # larger than a window, which has 7 words
    loader = data.evaluation_dataloader("test")
    targets, distributions = slow_distributions(model, loader, cache)
    assert np.allclose(distributions.sum(1), 1)
    expected = np.zeros(len(data.vocabulary))
    np.add.at(expected, targets, -np.log(distributions[np.arange(len(targets)), targets]))
    losses = neural_cache_losses(model, data.evaluation_dataloader("test"), CPU, cache)
    assert int(losses.tokens.sum()) == len(targets)
    assert np.allclose(losses.nll.numpy(), expected, atol=1e-8)


def test_chooses_the_best_settings(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "model=full")

    def batches():
        return data.evaluation_dataloader("valid")

    best, tokens = tune_neural_cache(model, batches(), CPU, [3, 30], [0.0, 1.0])
    plain = word_losses(model, batches(), CPU)
    assert tokens == int(plain.tokens.sum()) and 0 < best.weight < 1

    def nll(words: int, theta: float, weight: float) -> float:
        return float(neural_cache_losses(model, batches(), CPU, NeuralCache(words, theta, weight)).nll.sum())

    least = nll(best.words, best.theta, best.weight)
    assert least < float(plain.nll.sum())
    grid = [nll(words, theta, weight) for words in (3, 30) for theta in (0.0, 1.0) for weight in (0.1, 0.3, 0.6)]
    grid += [nll(best.words, best.theta, best.weight + change) for change in (-0.01, 0.01)]
    assert least <= min(grid)


def test_weight_zero_is_the_plain_model(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path)
    plain = word_losses(model, data.evaluation_dataloader("test"), CPU)
    losses = neural_cache_losses(model, data.evaluation_dataloader("test"), CPU, NeuralCache(20, 1.0, 0.0))
    assert torch.equal(losses.nll, plain.nll)
