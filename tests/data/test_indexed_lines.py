"""Indexed lines: the same words as Python's, with markers, and in order for every number of threads."""

import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.data import indexed_lines
from lightrnn_pl.data.indexed_lines import index_blocks, index_lines


@settings(deadline=None)
@given(st.lists(st.text("ab \u00a0ö", max_size=9), max_size=8), st.booleans(), st.booleans())
def test_indexes_like_python(texts, begin, end):
    lines = index_lines(pa.array(texts, pa.string()), begin, end)
    expected = [[*["<s>"] * begin, *text.split(), *["</s>"] * end] for text in texts]
    names = [*lines.words, "<s>", "</s>"]
    assert [names[index] for index in lines.indices] == [word for line in expected for word in line]
    assert lines.lengths.tolist() == [len(line) for line in expected]
    assert lines.words == list(dict.fromkeys(word for text in texts for word in text.split()))
    assert lines.indices.dtype == lines.lengths.dtype == np.int32


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_blocks_keep_their_order(monkeypatch, threads):
    monkeypatch.setattr(indexed_lines, "_MAX_THREADS", threads)
    original = indexed_lines.index_lines

    def slow_for_even_blocks(texts, *markers):
        time.sleep(0.01 * (int(texts[0].as_py()) % 2 == 0))
        return original(texts, *markers)

    monkeypatch.setattr(indexed_lines, "index_lines", slow_for_even_blocks)
    blocks = index_blocks((pa.array([str(number)]) for number in range(20)), begin=False, end=False)
    assert [block.words for block in blocks] == [[str(number)] for number in range(20)]


def test_reads_only_a_few_blocks_in_advance():
    read = []

    def texts():
        for number in range(1000):
            read.append(number)
            yield pa.array(["a b"])

    blocks = index_blocks(texts(), begin=False, end=False)
    next(blocks)
    assert len(read) <= indexed_lines._MAX_THREADS + 2
    threads = threading.active_count()
    blocks.close()
    assert threading.active_count() < threads


def test_errors_of_the_text_are_raised():
    def texts():
        yield pa.array(["a"])
        raise ValueError("line 2 is not text")

    blocks = index_blocks(texts(), begin=False, end=False)
    with pytest.raises(ValueError, match="line 2 is not text"):
        list(blocks)
