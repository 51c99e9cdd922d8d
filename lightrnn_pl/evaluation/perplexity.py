"""Perplexity per token as defined in the papers, exp(NLL / T), together with the tokens counted in T.

Only exact, normalized log-probabilities are used.  A training loss is never reported as a perplexity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightrnn_pl.data.batches import Batch
from lightrnn_pl.distributed import all_reduce
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import CodeOutput
from lightrnn_pl.vocabulary import Vocabulary

BIN_EDGES = (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""Lower edges of the frequency bins, as counts in the training text."""


@dataclass(frozen=True)
class FrequencyBin:
    """Tokens of similar frequency: words whose count in the training text is from ``at_least`` to the next bin edge."""

    at_least: int
    tokens: int
    perplexity: float


def bin_text(at_least: int) -> str:
    """The counts of a frequency bin, such as ``10-99``, from its lower edge."""
    following = [edge for edge in BIN_EDGES if edge > at_least]
    if not following:
        return f"{at_least:,} or more"
    last = following[0] - 1
    return f"{at_least:,}" if last == at_least else f"{at_least:,}-{last:,}"


@dataclass(frozen=True)
class Perplexity:
    """The perplexity of a model on a text.

    Attributes:
        perplexity: Perplexity of all tokens, including end markers.
        perplexity_without_end: Perplexity of all tokens except end markers.
        perplexity_without_unknown: Perplexity of all tokens except those scored as the unknown word.
        nll: Mean negative log-likelihood of all tokens, in nats.
        tokens: Number of predicted tokens.
        end_tokens: Number of end markers among them.
        unknown_tokens: Number of tokens scored as the unknown word.
        bins: Perplexity by frequency in the training text.
    """

    perplexity: float
    perplexity_without_end: float
    perplexity_without_unknown: float
    nll: float
    tokens: int
    end_tokens: int
    unknown_tokens: int
    bins: tuple[FrequencyBin, ...]

    def as_dict(self) -> dict[str, Any]:
        """The values as plain Python types, for JSON."""
        return asdict(self)


def perplexity(nll: float) -> float:
    """exp of a mean negative log-likelihood in nats.  Returns infinity instead of raising ``OverflowError``."""
    return math.exp(nll) if nll < 700 else math.inf


@dataclass(frozen=True)
class WordLosses:
    """The loss of a model on a text by word.

    Attributes:
        nll: Total negative log-likelihood of the occurrences of each word, in nats, (V,).
        tokens: Number of occurrences of each word, (V,).
    """

    nll: Float[Tensor, " V"]
    tokens: Float[Tensor, " V"]

    def means(self) -> Float[np.ndarray, " V"]:
        """Mean negative log-likelihood per occurrence in nats; NaN for words that do not occur."""
        return (self.nll / self.tokens).numpy()


def word_losses(model: LanguageModel, batches: Iterable[Batch], device: torch.device) -> WordLosses:
    """Compute the loss by word in one pass over ``batches``, with dropout disabled."""
    return sum_by_word(_scored(model, batches, device), model.allocation.num_words)


def sum_by_word(scored: Iterable[tuple[Tensor, Tensor]], num_words: int) -> WordLosses:
    """Sum the losses of a text by word.

    Args:
        scored: Targets and their natural-log probabilities (float64), each of shape (N,).
        num_words: V.
    """
    nll = torch.zeros(num_words, dtype=torch.float64)
    tokens = torch.zeros(num_words, dtype=torch.float64)
    for targets, scores in scored:
        nll.index_add_(0, targets, -scores)
        tokens.index_add_(0, targets, torch.ones_like(scores))
    return WordLosses(nll, tokens)


def measure_perplexity(
    model: LanguageModel, batches: Iterable[Batch], vocabulary: Vocabulary, device: torch.device
) -> Perplexity:
    """Compute the perplexity in one pass over ``batches``, with dropout disabled.

    Raises:
        ValueError: If there are no tokens to predict.
    """
    return summarize(word_losses(model, batches, device), vocabulary)


def summarize(losses: WordLosses, vocabulary: Vocabulary) -> Perplexity:
    """The perplexity that results from the losses by word.

    Raises:
        ValueError: If there are no tokens to predict.
    """
    nll, tokens, num_words = losses.nll, losses.tokens, len(vocabulary)
    if not tokens.any():
        raise ValueError("the text to evaluate has no tokens")
    counts = torch.from_numpy(vocabulary.counts.copy())
    bin_of = torch.bucketize(counts, torch.tensor(BIN_EDGES), right=True) - 1
    bins = [
        FrequencyBin(edge, int(tokens[bin_of == index].sum()), _perplexity(nll, tokens, bin_of == index))
        for index, edge in enumerate(BIN_EDGES)
        if tokens[bin_of == index].any()
    ]
    not_end, known = torch.ones(2, num_words, dtype=torch.bool)
    if vocabulary.end_id is not None:
        not_end[vocabulary.end_id] = False
    if vocabulary.unknown_id is not None:
        known[vocabulary.unknown_id] = False
    return Perplexity(
        perplexity=_perplexity(nll, tokens, torch.ones_like(not_end)),
        perplexity_without_end=_perplexity(nll, tokens, not_end),
        perplexity_without_unknown=_perplexity(nll, tokens, known),
        nll=float(nll.sum() / tokens.sum()),
        tokens=int(tokens.sum()),
        end_tokens=int(tokens[~not_end].sum()),
        unknown_tokens=int(tokens[~known].sum()),
        bins=tuple(bins),
    )


def mean_nll(model: LanguageModel, batches: Iterable[Batch], device: torch.device) -> float:
    """Mean negative log-likelihood per word in nats over the batches of all ranks, with dropout disabled."""
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    for _, scores in _scored(model, batches, device):
        sums += torch.tensor([-float(scores.sum()), len(scores)], dtype=torch.float64, device=device)
    total, words = all_reduce(sums).tolist()
    return total / words if words else math.nan


def mean_nll_by_axis(model: LanguageModel, batches: Iterable[Batch], device: torch.device) -> tuple[float, ...]:
    """``mean_nll`` by code (row loss, column loss, ...), for outputs with several codes."""
    output = model.output
    assert isinstance(output, CodeOutput)
    sums = torch.zeros(model.allocation.num_components + 1, dtype=torch.float64, device=device)
    with torch.no_grad():
        for hidden, targets, mask in hidden_states(model, batches, device):
            for axis, losses in enumerate(output.axis_losses(hidden, targets)):
                sums[axis] += losses[mask].sum(dtype=torch.float64)
            sums[-1] += mask.sum()
    *totals, words = all_reduce(sums).tolist()
    return tuple(total / words if words else math.nan for total in totals)


@torch.no_grad()
def hidden_states(
    model: LanguageModel, batches: Iterable[Batch], device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Hidden states (B, S, H), targets (B, T) and mask (B, T) of each batch, without dropout and with state carried."""
    training = model.training
    model.eval()
    state = None
    for batch in batches:
        inputs, targets, mask, reset = (part.to(device) for part in batch)
        hidden, state = model.hidden(inputs, targets, state, reset)
        yield hidden, targets, mask
    model.train(training)


@torch.no_grad()
def _scored(model: LanguageModel, batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The targets that count and their log-probabilities (float64) for each batch, flattened and on the CPU."""
    for hidden, targets, mask in hidden_states(model, batches, device):
        scores = model.output.log_probability(hidden, targets)
        yield targets[mask].cpu(), scores[mask].double().cpu()


def _perplexity(nll: Tensor, tokens: Tensor, words: Tensor) -> float:
    counted = float(tokens[words].sum())
    mean = float(nll[words].sum()) / counted if counted else math.nan
    return perplexity(mean)
