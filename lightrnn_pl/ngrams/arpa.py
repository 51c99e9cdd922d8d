"""Back-off models in ARPA's text format, written and read in blocks of lines without a loop over n-grams.

The format has logs to base ten with about seven digits; models in memory have natural logs.  A file's words need not
be a neural model's; ``interpolation.py`` says which is which.
"""

from __future__ import annotations

import gzip
import itertools
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lightrnn_pl.files import atomic_write
from lightrnn_pl.ngrams.ngram_model import ABSENT, Ids, Level, Logs, NgramModel, find, spelled

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
"""What the format calls its markers."""

_LN10 = math.log(10)
_NEVER = -99.0
"""How the format writes the logarithm of zero."""
_BLOCK = 1 << 18


def write_arpa(model: NgramModel, path: str | Path) -> None:
    """Write ``model`` to ``path``, packed if it ends in ``.gz``, atomically.

    Its begin and end markers are written as ``<s>`` and ``</s>``, all other words as ``model.words`` spells them.

    Raises:
        ValueError: If the words are not spelled, or one is spelled as a marker.
    """
    names = list(model.words)
    if len(names) != model.num_words:
        raise ValueError(f"an ARPA file needs the spelling of {model.num_words} words, got {len(names)}")
    for place, marker in ((model.begin, BEGIN), (model.end, END)):
        if place != ABSENT:
            names[place] = marker
    if len(set(names)) != len(names):
        raise ValueError(f"a word is spelled {BEGIN} or {END} without being the marker; rename it in the text")
    words = pa.array(names)
    with atomic_write(path) as raw:
        packed = Path(path).suffix == ".gz"
        file: Any = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if packed else raw
        file.write(b"\\data\\\n")
        for order, number in enumerate(model.num_ngrams, start=1):
            file.write(f"ngram {order}={number}\n".encode())
        for order, level in enumerate(model.levels, start=1):
            file.write(f"\n\\{order}-grams:\n".encode())
            for first in range(0, len(level.keys), _BLOCK):
                numbers = np.arange(first, min(first + _BLOCK, len(level.keys)))
                columns = spelled(model.levels, order, numbers, model.num_words)
                text = pc.binary_join_element_wise(*(words.take(pa.array(column)) for column in columns), " ")
                fields = [_base_ten(level.log_probability[numbers]), text]
                if len(level.backoff):
                    fields.append(_base_ten(level.backoff[numbers]))
                lines = pc.binary_join_element_wise(*fields, "\t")
                file.write("\n".join(lines.to_pylist()).encode())
                file.write(b"\n")
        file.write(b"\n\\end\\\n")
        if packed:
            file.close()


def _base_ten(logs: Logs) -> pa.StringArray:
    return pa.array(np.maximum(np.round(logs / _LN10, 7), _NEVER)).cast(pa.string())


def read_arpa(path: str | Path) -> NgramModel:
    """Read any ARPA file, plain or packed (.gz).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or none of this format, naming the place; or lists an n-gram without the
            (n - 1)-gram that it starts with; or has no end marker.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no ARPA file at {path} (working folder: {Path.cwd()})")
    try:
        with open_text(path) as file:
            return _Reader(path, file).read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or cut off: {error}") from error


def open_text(path: str | Path) -> IO[bytes]:
    """The file, unpacked while being read if it is packed."""
    with Path(path).open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else Path(path).open("rb")  # type: ignore[return-value]


class _Reader:
    """The state of reading one file."""

    def __init__(self, path: str | Path, file: IO[bytes]) -> None:
        self._path, self._file, self._line = path, file, 0
        self._words: pa.StringArray = pa.array([], pa.string())
        self._levels: list[Level] = []

    def read(self) -> NgramModel:
        counts = self._header()
        for order, count in enumerate(counts, start=1):
            self._level(order, count, highest=order == len(counts))
        if self._next() != b"\\end\\":
            raise self._error(
                "expected \\end\\; the header states fewer n-grams than there are, or the file is cut off"
            )
        words = tuple(self._words.to_pylist())
        if END not in words:
            raise ValueError(f"{self._path} has no {END}; estimate it from text with line ends")
        begin = words.index(BEGIN) if BEGIN in words else ABSENT
        return NgramModel(tuple(self._levels), begin, words.index(END), words)

    def _next(self) -> bytes:
        """The next line that is not blank; empty at the end of the file."""
        for line in self._file:
            self._line += 1
            if line.strip():
                return line.strip()
        return b""

    def _header(self) -> list[int]:
        if self._next() != b"\\data\\":
            raise self._error("an ARPA file begins with \\data\\")
        counts: list[int] = []
        while (found := re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line := self._next())) is not None:
            if int(found[1]) != len(counts) + 1:
                raise self._error(f"expected the number of {len(counts) + 1}-grams")
            counts.append(int(found[2]))
        if not counts or line != b"\\1-grams:":
            raise self._error("expected 'ngram 1=...' and so on, then \\1-grams:")
        self._pending = line
        return counts

    def _level(self, order: int, count: int, highest: bool) -> None:
        title = self._pending if order == 1 else self._next()
        if title != f"\\{order}-grams:".encode():
            raise self._error(f"expected \\{order}-grams: with {count} lines before it as the header states")
        keys, logs, backoffs = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0)]
        for columns, log_probability, backoff in self._blocks(order, count):
            if order == 1:
                self._words = pa.concat_arrays([self._words, columns[0]])
                logs.append(log_probability)
                backoffs.append(backoff)
                continue
            keys.append(self._keys(order, columns))
            logs.append(log_probability)
            backoffs.append(backoff)
        if order == 1:
            if len(self._words.unique()) != count:
                raise ValueError(f"{self._path} lists a word twice among its 1-grams; each may stand there once")
            all_keys, ascending = np.arange(count), np.arange(count)
        else:
            all_keys = np.concatenate(keys)
            ascending = np.argsort(all_keys, kind="stable")
            all_keys = all_keys[ascending]
            if (all_keys[1:] == all_keys[:-1]).any():
                raise ValueError(f"{self._path} lists a {order}-gram twice; each may stand there once")
        weights = np.empty(0) if highest else np.concatenate(backoffs)[ascending]
        self._levels.append(Level(all_keys, np.concatenate(logs)[ascending], weights))

    def _keys(self, order: int, columns: list[pa.StringArray]) -> Ids:
        num_words = len(self._words)
        ids: list[NDArray[np.int64]] = []
        for column in columns:
            found = pc.index_in(column, value_set=self._words)
            if found.null_count:
                word = column.filter(found.is_null())[0].as_py()
                raise ValueError(f"{self._path}: the word {word!r} of a {order}-gram is not among the 1-grams")
            ids.append(found.to_numpy(zero_copy_only=False).astype(np.int64))
        prefix = ids[0]
        for level, words in zip(self._levels[1:], ids[1:-1], strict=True):
            prefix = find(level, prefix, words, num_words)
        if (prefix == ABSENT).any():
            place = int(np.flatnonzero(prefix == ABSENT)[0])
            ngram = " ".join(column[place].as_py() for column in columns)
            raise ValueError(
                f"{self._path} lists {ngram!r} without the {order - 1}-gram that it starts with; write the file anew "
                "with a tool that keeps contexts"
            )
        return prefix * num_words + ids[-1]

    def _blocks(self, order: int, count: int) -> Iterator[tuple[list[pa.StringArray], Logs, Logs]]:
        """The words, log-probabilities and back-off weights of ``count`` lines, in blocks."""
        left = count
        while left:
            lines = list(itertools.islice(self._file, min(left, _BLOCK)))
            try:
                texts = pa.array(lines, pa.binary()).cast(pa.string())
                fields = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(texts))
                lengths = pc.list_value_length(fields).to_numpy(zero_copy_only=False)
                if len(lines) < min(left, _BLOCK) or not np.isin(lengths, (order + 1, order + 2)).all():
                    bad = int(np.flatnonzero(~np.isin(lengths, (order + 1, order + 2)))[:1].sum())
                    self._line += bad
                    raise self._error(f"expected a {order}-gram with its numbers; the header states {count} of them")
                flat, starts = fields.flatten(), np.concatenate([[0], np.cumsum(lengths)[:-1]])
                log_probability = _natural(flat.take(pa.array(starts)))
                columns = [flat.take(pa.array(starts + place)) for place in range(1, order + 1)]
                backoff = np.zeros(len(lines))
                weighted = np.flatnonzero(lengths == order + 2)
                backoff[weighted] = _natural(flat.take(pa.array(starts[weighted] + order + 1)))
            except pa.ArrowInvalid as error:
                raise self._error(f"within {len(lines):,} lines from here: {error}") from error
            self._line += len(lines)
            left -= len(lines)
            yield columns, log_probability, backoff

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{self._path}, line {max(1, self._line)}: {what}")


def _natural(texts: pa.StringArray) -> Logs:
    logs = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.where(logs <= _NEVER, -np.inf, logs * _LN10)
