"""Improves the rows of an initial allocation with a class bigram model of the training text.

A LightRNN with k = 2 predicts the row of a word before its column, so the better the rows predict one another, the
lower is the loss of the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from lightrnn_pl.allocation.initial.class_bigrams import ClassBigrams, count_bigrams
from lightrnn_pl.allocation.initial.cooccurrence_vectors import CHUNK, TrainingTokens, sampling_rates, token_blocks
from lightrnn_pl.allocation.initial.progress_bar import progress_bar
from lightrnn_pl.allocation.row_bands import RowBand

log = logging.getLogger(__name__)

EXCHANGED_PER_ROW = 20
"""The exchange algorithm moves this many times as many words as there are rows, but at most half of all words: the most
frequent ones."""


def exchange_words(
    rows: Int[np.ndarray, " V"],
    bands: Sequence[RowBand],
    counts: Int[np.ndarray, " V"],
    tokens: TrainingTokens,
    passes: int,
    max_tokens: int,
    seed: int,
) -> Int[np.ndarray, " V"]:
    """Rows with as many words of each band as before, whose mutual information in adjacent words is larger.

    Args:
        rows: Row of each word.
        bands: Ranges of words, in the order of descending frequency, and the rows that each of them fills.
        counts: Occurrences of each word.
        tokens: Word ids of the training text.
        passes: Number of passes over the frequent words.
        max_tokens: A sample of longer texts is counted; see
            :func:`~lightrnn_pl.allocation.initial.cooccurrence_vectors.sampling_rates`.
        seed: Seed of all random numbers.
    """
    num_words, num_rows = len(rows), bands[-1].rows.stop
    generator = np.random.default_rng(seed)
    total = len(tokens) if isinstance(tokens, np.ndarray) else None
    with progress_bar("counting bigrams", total) as advance:
        rates = sampling_rates(counts, max_tokens)
        bigrams = count_bigrams(token_blocks(tokens, CHUNK), num_words, rates, generator, advance)
    classes = ClassBigrams(bigrams, rows.copy(), num_rows)
    capacities = np.bincount(rows, minlength=num_rows)
    before = classes.mutual_information()
    with progress_bar("exchanging words between rows", num_words) as advance:
        for band in bands:
            first, last = band.words.start, band.words.stop
            # The others leave cells free, into which the frequent words can move.
            stop = first + min(EXCHANGED_PER_ROW * (band.rows.stop - band.rows.start), (last - first) // 2)
            frequent, others = slice(first, stop), slice(stop, last)
            free = capacities - np.bincount(classes.rows[frequent], minlength=num_rows)
            classes.exchange(frequent, band.rows, free, passes)
            advance(stop - first)
            classes.assign(others, band.rows, free[band.rows], generator)
            advance(last - stop)
    after = classes.mutual_information()
    log.info("Mutual information of adjacent rows: %.3f nats, %.3f before the exchange", after, before)
    return classes.rows
