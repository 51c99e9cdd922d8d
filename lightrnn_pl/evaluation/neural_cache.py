"""The neural cache: recent words, weighted by the similarity of their contexts (Grave et al. 2017, Equations 2 to 5).

    P(w) = (1 - weight) P_model(w) + weight P_cache(w)
    P_cache(w | h_t) is proportional to the sum of exp(theta h_t . h_i) over the recent words x_i = w

h_i is the hidden state that predicted x_i, before any of its codes were read.  The cache contains the words among the
last positions of the stream that count as targets.  While it is empty, P_cache is P_model, so the mixture is always
normalized.

The size of the cache, theta and the weight minimize the perplexity of the validation text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.checks import check_counts, check_numbers
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import WordLosses, hidden_states, sum_by_word
from lightrnn_pl.nn.language_model import LanguageModel

_BISECTIONS = 40
"""Steps of the search for the weight, each of which halves its interval."""


@dataclass(frozen=True)
class NeuralCache:
    """The settings of a cache.

    Attributes:
        words: Number of recent positions.
        theta: Factor of the similarities.
        weight: The share of the cache in the mixture.
    """

    words: int
    theta: float
    weight: float


def check_neural_cache(words: object, thetas: object) -> tuple[list[int], list[float]]:
    """The sizes and the values of theta to choose from, after checking them.

    Raises:
        ValueError: If one is invalid.
    """
    if not words:
        raise ValueError(f"neural_cache_words must contain at least one size, got {words}")
    return check_counts("neural_cache_words", words), check_numbers("neural_cache_theta", thetas, at_least=0)


def tune_neural_cache(
    model: LanguageModel,
    batches: Iterable[Batch],
    device: torch.device,
    words: Sequence[int],
    thetas: Sequence[float],
) -> tuple[NeuralCache, int]:
    """The best cache on a text, and the number of its tokens.

    Args:
        model: The model, which is not changed.
        batches: Windows of parallel streams.
        device: The device of the model.
        words: The sizes to choose from.
        thetas: The values of theta to choose from.
    """
    parts = [(plain, cached) for _, plain, cached in _scores(model, batches, device, words, thetas)]
    plain = torch.cat([part for part, _ in parts]).exp()
    cached = torch.cat([part for _, part in parts]).exp()
    best: tuple[float, NeuralCache] | None = None
    for size_index, size in enumerate(words):
        for theta_index, theta in enumerate(thetas):
            weight, nll = _best_weight(plain, cached[:, size_index, theta_index])
            if best is None or nll < best[0]:
                best = nll, NeuralCache(size, theta, weight)
    assert best is not None
    return best[1], len(plain)


def neural_cache_losses(
    model: LanguageModel, batches: Iterable[Batch], device: torch.device, cache: NeuralCache
) -> WordLosses:
    """The loss by word of the mixture of ``model`` and ``cache``."""

    def mixed() -> Iterator[tuple[Tensor, Tensor]]:
        for targets, plain, cached in _scores(model, batches, device, [cache.words], [cache.theta]):
            weights = torch.tensor([1 - cache.weight, cache.weight], dtype=torch.float64).log()
            yield targets, torch.logaddexp(plain + weights[0], cached[:, 0, 0] + weights[1])

    return sum_by_word(mixed(), model.allocation.num_words)


def _best_weight(plain: Float[Tensor, " N"], cached: Float[Tensor, " N"]) -> tuple[float, float]:
    """The weight with the highest likelihood, which is concave in it, and the mean negative log-likelihood there."""
    difference, low, high = cached - plain, 0.0, 1.0
    for _ in range(_BISECTIONS):
        weight = (low + high) / 2
        if float((difference / (plain + weight * difference)).mean()) > 0:
            low = weight
        else:
            high = weight
    return low, -float((plain + low * difference).log().mean())


@torch.no_grad()
def _scores(
    model: LanguageModel,
    batches: Iterable[Batch],
    device: torch.device,
    words: Sequence[int],
    thetas: Sequence[float],
) -> Iterator[tuple[Int[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, "N sizes thetas"]]]:
    """The targets of each batch that count, and their log-probabilities under the model and each cache, float64."""
    size, keys, values = max(words), None, None
    for hidden, targets, mask in hidden_states(model, batches, device):
        # The first of several hidden states of a word has not read any of its codes.
        queries = hidden[:, :: hidden.shape[1] // targets.shape[1]]
        stored = targets.masked_fill(~mask, -1)
        if keys is None or values is None:
            keys = queries.new_zeros(len(queries), size, queries.shape[-1])
            values = stored.new_full((len(stored), size), -1)
        keys, values = torch.cat([keys, queries], 1), torch.cat([values, stored], 1)
        plain = model.output.log_probability(hidden, targets)
        cached = _cache_log_probabilities(queries, keys, values, targets, plain, words, thetas)
        yield targets[mask].cpu(), plain[mask].double().cpu(), cached[mask].double().cpu()
        keys, values = keys[:, -size:], values[:, -size:]


def _cache_log_probabilities(
    queries: Float[Tensor, "B T H"],
    keys: Float[Tensor, "B L H"],
    values: Int[Tensor, "B L"],
    targets: Int[Tensor, "B T"],
    plain: Float[Tensor, "B T"],
    words: Sequence[int],
    thetas: Sequence[float],
) -> Float[Tensor, "B T sizes thetas"]:
    """Log-probability of each target under the cache of each size and theta.

    Args:
        queries: The hidden state of each target.
        keys: Those of the largest cache before the window, followed by ``queries``.
        values: The word of each key; -1 if it does not count.
        targets: The targets.
        plain: Log-probability of each target under the model, used while the cache is empty.
        words: The sizes.
        thetas: The values of theta.
    """
    size, window = keys.shape[1] - queries.shape[1], queries.shape[1]
    similarities = torch.bmm(queries, keys.transpose(1, 2))
    # Row t of these views are the `size` keys before target t.
    recent = similarities.as_strided((len(keys), window, size), (window * (size + window), size + window + 1, 1))
    recent_words = values.contiguous().as_strided((len(keys), window, size), (size + window, 1, 1))
    same = recent_words == targets[:, :, None]
    result = []
    for number in words:
        part, part_words = recent[..., -number:], recent_words[..., -number:]
        empty = (part_words < 0).all(-1)
        for theta in thetas:
            scores = (theta * part).masked_fill(part_words < 0, -torch.inf)
            total = scores.logsumexp(-1)
            matching = scores.masked_fill(~same[..., -number:], -torch.inf).logsumexp(-1)
            result.append(torch.where(empty, plain, matching - total))
    return torch.stack(result, -1).unflatten(-1, (len(words), len(thetas)))
