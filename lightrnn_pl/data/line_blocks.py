"""Reads a binary file object as blocks of lines, without Python loops over lines."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

BLOCK_BYTES = 1 << 23
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_compressed(name: str) -> bool:
    """Whether a file is compressed, according to its name."""
    return PurePath(name).suffix in _OPENERS


def line_blocks(file: BinaryIO, name: str) -> Iterator[pa.StringArray]:
    """The lines of a text in UTF-8, in blocks of about ``BLOCK_BYTES``.

    Lines end with a newline, a carriage return, or both.  A byte order mark is ignored.

    Args:
        file: The file.  It is decompressed if ``name`` ends in ``.gz``, ``.bz2`` or ``.xz``.
        name: Name of the file, also for error messages.

    Raises:
        ValueError: If the file is not UTF-8 text, or is damaged or truncated.  The message contains the line.
    """
    suffix = PurePath(name).suffix
    if suffix in _OPENERS:
        file = _OPENERS[suffix](file)
    first_line = 1
    try:
        for block in _blocks_of_whole_lines(file):
            if first_line == 1:
                block = block.removeprefix(_BYTE_ORDER_MARK)
            if b"\r" in block:
                block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            yield _split_lines(block, name, first_line)
            first_line += block.count(b"\n")
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if suffix not in _OPENERS:
            raise
        raise ValueError(f"{name} is damaged or truncated ({error}); obtain the file again") from error


def _blocks_of_whole_lines(file: BinaryIO) -> Iterator[bytes]:
    pieces: list[bytes] = []  # the beginning of a line that is longer than a chunk
    while chunk := file.read(BLOCK_BYTES):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join([*pieces, chunk[:end]])
            pieces = [chunk[end:]]
        else:
            pieces.append(chunk)
    if last := b"".join(pieces):
        yield last


def _split_lines(block: bytes, name: str, first_line: int) -> pa.StringArray:
    # UTF-16 without a byte order mark is valid UTF-8 with NULs between the letters.
    if (nul := block.find(b"\0")) >= 0:
        raise ValueError(
            f"{_position(block, nul, name, first_line)} is NUL, as in UTF-16 or a binary file; convert the file to "
            "UTF-8, for example with iconv"
        )
    try:
        text = pa.array([block.removesuffix(b"\n")], pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        raise ValueError(_decoding_error(block, name, first_line)) from None
    return pc.split_pattern(text, "\n").flatten()


def _decoding_error(block: bytes, name: str, first_line: int) -> str:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        return (
            f"{_position(block, error.start, name, first_line)} is not UTF-8 (0x{block[error.start]:02x}, "
            f"{error.reason}); convert the file, for example with iconv"
        )
    return f"{name} is not UTF-8; convert the file, for example with iconv"


def _position(block: bytes, index: int, name: str, first_line: int) -> str:
    line = first_line + block.count(b"\n", 0, index)
    byte = index - block.rfind(b"\n", 0, index)
    return f"{name}, line {line}: byte {byte} of the line"
