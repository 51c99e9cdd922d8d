"""Blocks of lines: the same lines as Python's, for every line end, block size and encoding of the file."""

import bz2
import gzip
import io
import lzma

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.data import line_blocks as module
from lightrnn_pl.data.line_blocks import line_blocks


def lines_of(data: bytes, name: str = "text.txt") -> list[str]:
    return [line for block in line_blocks(io.BytesIO(data), name) for line in block.to_pylist()]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "ö b", " ", "\n", "\r\n", "\x0b\u2028"]), max_size=30), st.integers(1, 20))
def test_reads_the_same_lines_as_python(parts, size):
    text = "".join(parts)
    expected = [line.rstrip("\n") for line in io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", size)
        assert lines_of(text.encode()) == expected


def test_a_carriage_return_ends_a_line():
    assert lines_of(b"one\rtwo\r\nthree") == ["one", "two", "three"]


def test_ignores_a_byte_order_mark_only_at_the_beginning(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 4)
    mark = "\ufeff"
    assert lines_of(f"{mark}one\n{mark}two\n".encode()) == ["one", f"{mark}two"]


@pytest.mark.parametrize(
    ("suffix", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("txt", bytes)]
)
def test_decompresses_by_name(suffix, compress):
    assert lines_of(compress(b"a\nb\n" * 1000), f"text.{suffix}") == ["a", "b"] * 1000


@pytest.mark.parametrize("size", [3, 1 << 20])
def test_reports_the_line_and_byte_of_invalid_text(monkeypatch, size):
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    with pytest.raises(ValueError, match=r"^text\.txt, line 3: byte 2 of the line is not UTF-8 \(0xe4, invalid"):
        lines_of(b"\xef\xbb\xbfone\r\ntwo\nb\xe4d\nfour")
    with pytest.raises(ValueError, match=r"^text\.txt, line 2: byte 4 of the line is NUL.*iconv"):
        lines_of(b"one\ntwo\0\n")


@pytest.mark.parametrize("cut", [slice(None, -20), slice(20, None)])
def test_reports_a_damaged_file(cut):
    with pytest.raises(ValueError, match=r"^text\.gz is damaged or truncated"):
        lines_of(gzip.compress(b"some words in a line\n" * 5000)[cut], "text.gz")
