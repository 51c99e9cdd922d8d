"""Entropy pruning of back-off models (Stolcke 1998): removes n-grams whose removal hardly changes perplexity.

Without the n-gram hw, w has the probability a' P(w | h'), and the back-off weight a of h becomes a'.  The relative
entropy between the distributions before and after, weighted by the probability of h, is

    D = -P(h) (P(w | h) (log P(w | h') + log a' - log P(w | h)) + (1 - sum_v P(v | h)) (log a' - log a))

over the v that follow h in the model.  The n-gram is removed if exp(D) - 1, the relative increase of perplexity, is
below a threshold.  N-grams that are prefixes of remaining longer ones are kept.  Back-off weights are computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lightrnn_pl.checks import check_number
from lightrnn_pl.ngrams.ngram_model import ABSENT, Ids, Level, Logs, NgramModel, find_ngrams, ngram_words

_LEAST = 1e-12
"""Smallest mass that a context leaves for words that do not follow it."""


def prune(model: NgramModel, threshold: float) -> NgramModel:
    """Remove n-grams whose removal increases perplexity by less than ``threshold``, relative to before.

    Args:
        model: A model whose probabilities sum to one, such as a Kneser-Ney model.
        threshold: For example 1e-8; 0 keeps all n-grams.

    Raises:
        ValueError: If the threshold is negative.
    """
    check_number("prune", threshold, at_least=0)
    levels = list(model.levels)
    for order in range(len(levels), 1, -1):
        level = levels[order - 1]
        contexts = level.keys // model.num_words
        own_logs, lower_logs, left, lower_left = _masses(levels, order, model.num_words)
        own, lower = np.exp(own_logs), np.exp(lower_logs)
        changed = np.log((left[contexts] + own) / (lower_left[contexts] + lower))
        change = changed - np.log(left / lower_left)[contexts]
        divergence = own * (lower_logs + changed - own_logs) + left[contexts] * change
        columns = ngram_words(levels, order, np.arange(len(level.keys)), model.num_words)
        weight = np.exp(_context_log_probabilities(model, levels, columns[:-1]))
        kept = np.expm1(-weight * divergence) >= threshold
        if order < len(levels):
            kept[levels[order].keys // model.num_words] = True
        levels[order - 1] = _subset(level, kept)
        if order < len(levels):
            positions = np.cumsum(kept) - 1
            prefixes, words = np.divmod(levels[order].keys, model.num_words)
            levels[order] = replace(levels[order], keys=positions[prefixes] * model.num_words + words)
    # From short to long n-grams, because a back-off weight depends on the shorter ones.
    for order in range(2, len(levels) + 1):
        _, _, left, lower_left = _masses(levels, order, model.num_words)
        levels[order - 2] = replace(levels[order - 2], backoff=np.log(left / lower_left))
    return replace(model, levels=tuple(levels))


def _masses(levels: Sequence[Level], order: int, num_words: int) -> tuple[Logs, Logs, Logs, Logs]:
    """The log-probability of each n-gram and of its last word without its first word, and what contexts leave over.

    The last two arrays are, for each context, the probability of the words that do not follow it, with and without the
    first word of the context.
    """
    level = levels[order - 1]
    contexts, size = level.keys // num_words, len(levels[order - 2].keys)
    columns = ngram_words(levels, order, np.arange(len(level.keys)), num_words)
    lower = last_word_log_probabilities(levels[: order - 1], columns[1:], num_words)
    left, lower_left = (
        np.maximum(1 - np.bincount(contexts, np.exp(logs), size), _LEAST) for logs in (level.log_probability, lower)
    )
    return level.log_probability, lower, left, lower_left


def last_word_log_probabilities(levels: Sequence[Level], columns: Sequence[Ids], num_words: int) -> Logs:
    """Natural-log probability of the last word of N n-grams given the preceding ones, (N,).

    Args:
        levels: The levels of a model.
        columns: The words of the n-grams, first words first, each (N,).
        num_words: W.
    """
    last = columns[-1]
    scores = levels[0].log_probability[last].copy()
    for size in range(1, min(len(columns), len(levels))):
        context = columns[-size - 1]
        for level, words in zip(levels[1:size], columns[len(columns) - size : -1], strict=True):
            context = find_ngrams(level, context, words, num_words)
        known = context != ABSENT
        scores[known] += levels[size - 1].backoff[context[known]]
        found = find_ngrams(levels[size], context, last, num_words)
        listed = found != ABSENT
        scores[listed] = levels[size].log_probability[found[listed]]
    return scores


def _context_log_probabilities(model: NgramModel, levels: Sequence[Level], columns: Sequence[Ids]) -> Logs:
    """Natural-log probability of each context; a begin marker is as likely as an end marker."""
    first = levels[0].log_probability[columns[0]].copy()
    if model.begin != ABSENT and model.end != ABSENT:
        first[columns[0] == model.begin] = levels[0].log_probability[model.end]
    parts = [last_word_log_probabilities(levels, columns[: end + 1], model.num_words) for end in range(1, len(columns))]
    return first + sum(parts, np.zeros_like(first))


def _subset(level: Level, kept: np.ndarray) -> Level:
    return Level(
        level.keys[kept], level.log_probability[kept], level.backoff[kept] if len(level.backoff) else level.backoff
    )
