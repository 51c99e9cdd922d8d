"""Interpolated modified Kneser-Ney, estimated with sorting and counting only (Chen and Goodman 1998, equation 26).

    P(w | h) = (a(hw) - D(a(hw))) / sum_v a(hv) + gamma(h) P(w | h')
    gamma(h) = (D1 N1(h.) + D2 N2(h.) + D3+ N3+(h.)) / sum_v a(hv)

a is the count of an n-gram of the highest order or of one that starts with the begin marker, and for all others the
number of different words before it; h' is h without its first word; D1, D2 and D3+ come from how many n-grams of the
order have a = 1, 2, 3 and 4.  Below the unigrams lies the uniform distribution over all words that can be predicted:
the whole vocabulary, unknown word and end marker included, without the begin marker.  Begin markers and discounts are
treated as by lmplz (Heafield et al. 2013), with two differences.  A word of the vocabulary that was never seen has a
uniform part of its own, where lmplz has one unknown word for all of them.  And lmplz enters the last n-gram of each
order below the highest into the counts of counts with its plain count instead of its adjusted one, which on PTB changes
one discount by 0.003.  Nothing is pruned.

Knows ids of words and nothing of text or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.checks import check_count
from lightrnn_pl.ngrams.ngram_model import ABSENT, Ids, Level, NgramModel, with_begins

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""lmplz's own for an order where the formula gives none."""


@dataclass(frozen=True)
class Discounts:
    """What is taken from adjusted counts of 1, of 2, and of 3 and more.

    Attributes:
        amounts: D1, D2, D3+.
        fallback: Whether the counts of counts gave none, as in tiny or artificial text.
    """

    amounts: tuple[float, float, float]
    fallback: bool


@dataclass(frozen=True)
class _Counted:
    """The n-grams of one order in a text.

    Attributes:
        keys: As in ``Level``.
        prefix: Number of the (n - 1)-gram that each starts with.
        suffix: Number of the (n - 1)-gram that each ends with.
        counts: How often each occurs.
        begins: Whether each starts with the begin marker.
    """

    keys: Ids
    prefix: Ids
    suffix: Ids
    counts: Ids
    begins: NDArray[np.bool_]


def estimate_kneser_ney(
    tokens: NDArray[np.integer],
    num_words: int,
    end: int,
    begin: int | None = None,
    order: int = 5,
) -> tuple[NgramModel, list[Discounts]]:
    """The model of a text, and the discounts of each order.

    Args:
        tokens: Ids below ``num_words`` of lines that each close with the end marker, without begin markers, (N,).
        num_words: V, the size of the vocabulary.
        end: The id of the end marker.
        begin: The id of the begin marker; None if the vocabulary has none: then it gets the id V.
        order: The length of the longest n-grams.

    Raises:
        ValueError: If ``order`` is below one, or the text has no lines.
    """
    check_count("interpolate_order", order)
    begin = num_words if begin is None else begin
    size = max(num_words, begin + 1)
    orders = _count(*with_begins(tokens, begin, end), begin=begin, size=size, order=order)
    levels: list[Level] = []
    discounts: list[Discounts] = []
    lower = np.full(1, 1.0 / (size - 1))
    for number, counted in enumerate(orders):
        adjusted = counted.counts if number == order - 1 else _adjusted(counted, orders[number + 1])
        discount = _discounts(adjusted)
        amounts = np.array([0.0, *discount.amounts])[np.minimum(adjusted, 3)]
        num_prefixes = 1 if number == 0 else len(orders[number - 1].keys)
        total = np.bincount(counted.prefix, weights=adjusted, minlength=num_prefixes)
        freed = np.bincount(counted.prefix, weights=amounts, minlength=num_prefixes)
        has_followers = total > 0
        gamma = np.ones(num_prefixes)
        gamma[has_followers] = freed[has_followers] / total[has_followers]
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


def _count(marked: Ids, kept: Ids, begin: int, size: int, order: int) -> list[_Counted]:
    """The n-grams of each order; none crosses a line, and none ends in the begin marker except that marker alone."""
    everything = np.arange(size)
    zeros = np.zeros(size, dtype=np.int64)
    counts = np.bincount(marked, minlength=size)
    counts[begin] = 0  # it is never predicted
    orders = [_Counted(everything, zeros, zeros, counts, everything == begin)]
    ending = marked  # the number of the n-gram that ends in each token
    predicted = np.zeros(len(marked), dtype=np.bool_)
    predicted[kept] = True
    for _ in range(order - 1):
        below = orders[-1]
        places = np.flatnonzero(predicted[1:] & (ending[:-1] != ABSENT)) + 1
        occurring = ending[places - 1] * size + marked[places]
        keys, first, numbers, counts = np.unique(occurring, return_index=True, return_inverse=True, return_counts=True)
        prefix = keys // size
        orders.append(_Counted(keys, prefix, ending[places[first]], counts, below.begins[prefix]))
        ending = np.full(len(marked), ABSENT)
        ending[places] = numbers
    return orders


def _adjusted(counted: _Counted, above: _Counted) -> Ids:
    """The number of different words before each n-gram; its count where it starts with the begin marker."""
    different = np.bincount(above.suffix, minlength=len(counted.keys))
    return np.where(counted.begins, counted.counts, different)


def _discounts(adjusted: Ids) -> Discounts:
    """Chen and Goodman's equation 26, or lmplz's fallback where it is undefined or out of range."""
    ones, twos, threes, fours = np.bincount(np.minimum(adjusted, 5), minlength=6)[1:5].astype(float)
    if not (ones and twos and threes):
        return Discounts(FALLBACK_DISCOUNTS, True)
    y = ones / (ones + 2 * twos)
    amounts = (float(1 - 2 * y * twos / ones), float(2 - 3 * y * threes / twos), float(3 - 4 * y * fours / threes))
    if not all(0 <= amount <= most for most, amount in enumerate(amounts, start=1)):
        return Discounts(FALLBACK_DISCOUNTS, True)
    return Discounts(amounts, False)
