"""Interpolated modified Kneser-Ney models, estimated by sorting and counting (Chen and Goodman 1998, equation 26).

    P(w | h) = (a(hw) - D(a(hw))) / sum_v a(hv) + gamma(h) P(w | h')
    gamma(h) = (D1 N1(h.) + D2 N2(h.) + D3+ N3+(h.)) / sum_v a(hv)

a is the adjusted count: the number of occurrences for n-grams of the highest order and for n-grams that start with the
begin marker, and the number of distinct preceding words for all others.  h' is h without its first word.  D1, D2 and
D3+ are computed from the numbers of n-grams of the order with a = 1, 2, 3 and 4.  Unigrams are interpolated with the
uniform distribution over all words that can be predicted: the vocabulary, including the unknown word and the end marker
but not the begin marker.  N-grams are not pruned.

N-grams do not cross lines.  Without an end marker, the text is one line, so they do: the model predicts the same words
as a neural model that reads the text as a stream without line ends, and does not know where lines begin either.

Begin markers and discounts follow lmplz (Heafield et al. 2013), with two differences.  Each unseen word of the
vocabulary has its own share of the uniform distribution, whereas lmplz has one unknown word for all of them.  And lmplz
uses the count instead of the adjusted count for the last n-gram of each lower order in the counts of counts, which on
PTB changes one discount by 0.003.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.checks import check_count
from lightrnn_pl.ngrams.ngram_model import ABSENT, Ids, Level, NgramModel, insert_begin_markers

_BYTES_PER_TOKEN_AND_ORDER = 40
"""Peak memory on text; 50 if all n-grams are distinct."""

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""The discounts that lmplz uses for an order for which the formula is undefined."""


@dataclass(frozen=True)
class Discounts:
    """The discounts of adjusted counts of 1, 2, and 3 or more.

    Attributes:
        amounts: D1, D2, D3+.
        fallback: Whether the formula was undefined, as for tiny or artificial text.
    """

    amounts: tuple[float, float, float]
    fallback: bool


@dataclass(frozen=True)
class _CountedNgrams:
    """The n-grams of one order in a text.

    Attributes:
        keys: The keys of the n-grams, as in ``Level``.
        prefix: Index of the (n - 1)-gram at the beginning of each n-gram.
        suffix: Index of the (n - 1)-gram at the end of each n-gram.
        counts: Number of occurrences.
        begins: Whether an n-gram starts with the begin marker.
    """

    keys: Ids
    prefix: Ids
    suffix: Ids
    counts: Ids
    begins: NDArray[np.bool_]


def estimation_bytes(num_tokens: int, order: int) -> int:
    """Approximate peak memory of :func:`estimate_kneser_ney` in bytes, in addition to the text."""
    return _BYTES_PER_TOKEN_AND_ORDER * num_tokens * order


def estimate_kneser_ney(
    tokens: NDArray[np.integer],
    num_words: int,
    end: int | None,
    begin: int | None = None,
    order: int = 5,
) -> tuple[NgramModel, list[Discounts]]:
    """Estimate a model from a text.

    Args:
        tokens: Ids below ``num_words`` of lines that end with the end marker, without begin markers, (N,).
        num_words: V, the size of the vocabulary.
        end: The id of the end marker.  If the vocabulary has none (None), the text is one line.
        begin: The id of the begin marker.  If the vocabulary has none (None), its id is V.
        order: The length of the longest n-grams.

    Returns:
        The model and the discounts of each order.

    Raises:
        ValueError: If ``order`` is less than one, or the text has no lines.
    """
    check_count("interpolate_order", order)
    end = ABSENT if end is None else end
    begin = num_words if begin is None else begin
    size = max(num_words, begin + 1)
    orders = _count(*insert_begin_markers(tokens, begin, end), begin=begin, size=size, order=order)
    levels: list[Level] = []
    discounts: list[Discounts] = []
    lower = np.full(1, 1.0 / (size - 1))
    for number, counted in enumerate(orders):
        adjusted = counted.counts if number == order - 1 else _adjusted(counted, orders[number + 1])
        discount = _discounts(adjusted)
        amounts = np.array([0.0, *discount.amounts])[np.minimum(adjusted, 3)]
        num_prefixes = 1 if number == 0 else len(orders[number - 1].keys)
        total = np.bincount(counted.prefix, weights=adjusted, minlength=num_prefixes)
        discounted = np.bincount(counted.prefix, weights=amounts, minlength=num_prefixes)
        has_followers = total > 0
        gamma = np.ones(num_prefixes)
        gamma[has_followers] = discounted[has_followers] / total[has_followers]
        if number:
            levels[-1].backoff[:] = np.log(gamma, out=np.full(num_prefixes, -np.inf), where=gamma > 0)
        share = (adjusted - amounts) / total[counted.prefix]
        probability = share + gamma[counted.prefix] * lower[counted.suffix]
        if number == 0:
            probability[begin] = 0.0
        logs = np.log(probability, out=np.full(len(probability), -np.inf), where=probability > 0)
        levels.append(Level(counted.keys, logs, np.zeros(len(logs) if number < order - 1 else 0)))
        discounts.append(discount)
        lower = probability
    return NgramModel(tuple(levels), begin, end), discounts


def _count(marked: Ids, positions: Ids, begin: int, size: int, order: int) -> list[_CountedNgrams]:
    """The n-grams of each order.  None crosses a line, and only the unigram of the begin marker ends in that marker."""
    all_words = np.arange(size)
    zeros = np.zeros(size, dtype=np.int64)
    counts = np.bincount(marked, minlength=size)
    counts[begin] = 0  # it is never predicted
    orders = [_CountedNgrams(all_words, zeros, zeros, counts, all_words == begin)]
    ending = marked  # index of the n-gram that ends in each token
    predicted = np.zeros(len(marked), dtype=np.bool_)
    predicted[positions] = True
    for _ in range(order - 1):
        below = orders[-1]
        ends = np.flatnonzero(predicted[1:] & (ending[:-1] != ABSENT)) + 1
        occurring = ending[ends - 1] * size + marked[ends]
        keys, first, indices, counts = np.unique(occurring, return_index=True, return_inverse=True, return_counts=True)
        prefix = keys // size
        orders.append(_CountedNgrams(keys, prefix, ending[ends[first]], counts, below.begins[prefix]))
        ending = np.full(len(marked), ABSENT)
        ending[ends] = indices
    return orders


def _adjusted(counted: _CountedNgrams, above: _CountedNgrams) -> Ids:
    """The number of distinct words before each n-gram, or the count of n-grams that start with the begin marker."""
    num_predecessors = np.bincount(above.suffix, minlength=len(counted.keys))
    return np.where(counted.begins, counted.counts, num_predecessors)


def _discounts(adjusted: Ids) -> Discounts:
    """Chen and Goodman, equation 26, or the fallback of lmplz if it is undefined or out of range."""
    ones, twos, threes, fours = np.bincount(np.minimum(adjusted, 5), minlength=6)[1:5].astype(float)
    if not (ones and twos and threes):
        return Discounts(FALLBACK_DISCOUNTS, True)
    y = ones / (ones + 2 * twos)
    amounts = (float(1 - 2 * y * twos / ones), float(2 - 3 * y * threes / twos), float(3 - 4 * y * fours / threes))
    if not all(0 <= amount <= limit for limit, amount in enumerate(amounts, start=1)):
        return Discounts(FALLBACK_DISCOUNTS, True)
    return Discounts(amounts, False)
