"""Blocks of lines as indices of their distinct words: the part of encoding that needs no vocabulary.

Blocks are independent of each other, so several are prepared at the same time.  Threads are enough, because Arrow and
NumPy release Python's global lock.  The blocks are yielded in order, so the result does not depend on the threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lightrnn_pl.data.corpus import split_words

_MAX_THREADS = 4  # more would wait for the thread that looks up the distinct words


@dataclass(frozen=True)
class IndexedLines:
    """A block of lines with markers.

    Attributes:
        words: The U distinct words in the order of their first occurrence.
        indices: Index of the word at each position, shape (N,).  U is the begin marker, and U + 1 the end marker.
        lengths: Number of indices per line, shape (lines,).
        num_bytes: Size of the text.
    """

    words: list[str]
    indices: NDArray[np.int32]
    lengths: NDArray[np.int32]
    num_bytes: int


def index_lines(texts: pa.Array | pa.ChunkedArray, begin: bool, end: bool) -> IndexedLines:
    """Split lines into words and index them.

    Args:
        texts: The lines, as strings.
        begin: Whether to add a begin marker to every line.
        end: Whether to add an end marker to every line.
    """
    pieces = split_words(texts)
    lengths = pc.list_value_length(pieces).to_numpy(zero_copy_only=False)
    encoded = pieces.flatten().dictionary_encode()
    words, indices = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    if begin or end:
        marked = (lengths + (begin + end)).astype(np.int32)
        ends = np.cumsum(marked, dtype=np.int64)
        is_word = np.ones(int(marked.sum(dtype=np.int64)), dtype=np.bool_)
        with_markers = np.empty(len(is_word), dtype=np.int32)
        for present, positions, index in ((begin, ends - marked, len(words)), (end, ends - 1, len(words) + 1)):
            if present:
                is_word[positions] = False
                with_markers[positions] = index
        with_markers[is_word] = indices
        lengths, indices = marked, with_markers
    return IndexedLines(words, indices, lengths.astype(np.int32, copy=False), texts.nbytes - 3 * len(texts))


def index_blocks(
    texts: Iterable[pa.Array | pa.ChunkedArray], begin: bool, end: bool
) -> Generator[IndexedLines, None, None]:
    """Index blocks of lines with several threads, in order; see :func:`index_lines`.

    At most one block more than there are threads is read in advance.
    """
    num_threads = min(_MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    pending: deque[Future[IndexedLines]] = deque()
    pool = ThreadPoolExecutor(num_threads)
    try:
        for block in texts:
            pending.append(pool.submit(index_lines, block, begin, end))
            if len(pending) > num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
