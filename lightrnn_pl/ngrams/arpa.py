"""Reading and writing back-off models in ARPA format, in blocks of lines without a Python loop over n-grams.

The format stores base-10 logarithms with about seven digits; models in memory use natural logarithms.  The words of a
file may differ from the vocabulary of a neural model; ``members.py`` maps between them.
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
from lightrnn_pl.ngrams.ngram_model import ABSENT, Ids, Level, Logs, NgramModel, find_ngrams, ngram_words
from lightrnn_pl.vocabulary import Vocabulary

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
"""The markers of the format."""

_LN10 = math.log(10)
_LOG_ZERO = -99.0
"""The value that represents the logarithm of zero."""
_MAX_LOG = 1e-3
"""Log-probabilities may be slightly above 0 because of rounding."""
_BLOCK = 1 << 18


def write_arpa(model: NgramModel, path: str | Path) -> None:
    """Write ``model`` to ``path`` atomically, compressed if it ends in ``.gz``.

    The begin and end markers are written as ``<s>`` and ``</s>``, and all other words as in ``model.words``.

    Raises:
        ValueError: If ``model.words`` is incomplete, or contains a word that is spelled like a marker.
    """
    names = list(model.words)
    if len(names) != model.num_words:
        raise ValueError(f"an ARPA file needs the names of all {model.num_words} words, got {len(names)}")
    for word_id, marker in ((model.begin, BEGIN), (model.end, END)):
        if word_id != ABSENT:
            names[word_id] = marker
    if len(set(names)) != len(names):
        raise ValueError(f"the word {BEGIN} or {END} is not a marker of the model; rename it in the text")
    words = pa.array(names)
    with atomic_write(path) as raw:
        compressed = Path(path).suffix == ".gz"
        file: Any = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if compressed else raw
        file.write(b"\\data\\\n")
        for order, count in enumerate(model.num_ngrams, start=1):
            file.write(f"ngram {order}={count}\n".encode())
        for order, level in enumerate(model.levels, start=1):
            file.write(f"\n\\{order}-grams:\n".encode())
            for first in range(0, len(level.keys), _BLOCK):
                indices = np.arange(first, min(first + _BLOCK, len(level.keys)))
                columns = ngram_words(model.levels, order, indices, model.num_words)
                text = pc.binary_join_element_wise(*(words.take(pa.array(column)) for column in columns), " ")
                fields = [_base_ten(level.log_probability[indices]), text]
                if len(level.backoff):
                    fields.append(_base_ten(level.backoff[indices]))
                lines = pc.binary_join_element_wise(*fields, "\t")
                file.write("\n".join(lines.to_pylist()).encode())
                file.write(b"\n")
        file.write(b"\n\\end\\\n")
        if compressed:
            file.close()


def _base_ten(logs: Logs) -> pa.StringArray:
    return pa.array(np.maximum(np.round(logs / _LN10, 7), _LOG_ZERO)).cast(pa.string())


def read_arpa(path: str | Path) -> NgramModel:
    """Read an ARPA file, optionally compressed with gzip.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged or has a different format, lists an n-gram without its prefix of n - 1
            words.  The message contains the line or the n-gram.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"the ARPA file {path} does not exist (current working directory: {Path.cwd()})")
    try:
        with open_text(path) as file:
            return _Reader(path, file).read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged or truncated: {error}") from error


def vocabulary_of(model: NgramModel) -> Vocabulary:
    """The words that a model predicts: those of its file except the begin marker.  Their counts are not known."""
    words = [word for word in model.words if word != BEGIN]
    unknown, end = (marker if marker in words else None for marker in (UNKNOWN, END))
    return Vocabulary(words, np.zeros(len(words), np.int64), unknown, None, end)


def open_text(path: str | Path) -> IO[bytes]:
    """Open a file, with decompression if it is compressed with gzip."""
    with Path(path).open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else Path(path).open("rb")  # type: ignore[return-value]


class _Reader:
    """A parser of one ARPA file."""

    def __init__(self, path: str | Path, file: IO[bytes]) -> None:
        self._path, self._file, self._line = path, file, 0
        self._words: pa.StringArray = pa.array([], pa.string())
        self._levels: list[Level] = []

    def read(self) -> NgramModel:
        counts = self._header()
        for order, count in enumerate(counts, start=1):
            self._level(order, count, highest=order == len(counts))
        if self._next() != b"\\end\\":
            raise self._error("expected \\end\\; the file has more n-grams than its header states, or is truncated")
        words = tuple(self._words.to_pylist())
        begin, end = (words.index(marker) if marker in words else ABSENT for marker in (BEGIN, END))
        return NgramModel(tuple(self._levels), begin, end, words)

    def _next(self) -> bytes:
        """The next line that is not blank, or an empty string at the end of the file."""
        for line in self._file:
            self._line += 1
            if line.strip():
                return line.strip()
        return b""

    def _header(self) -> list[int]:
        if self._next() != b"\\data\\":
            raise self._error("an ARPA file must begin with \\data\\")
        counts: list[int] = []
        while (match := re.fullmatch(rb"ngram\s+(\d{1,2})\s*=\s*(\d{1,15})", line := self._next())) is not None:
            if int(match[1]) != len(counts) + 1:
                raise self._error(f"expected the number of {len(counts) + 1}-grams")
            counts.append(int(match[2]))
        if not counts or line != b"\\1-grams:":
            raise self._error("expected lines such as 'ngram 1=...', followed by \\1-grams:")
        self._pending = line
        return counts

    def _level(self, order: int, count: int, highest: bool) -> None:
        title = self._pending if order == 1 else self._next()
        if title != f"\\{order}-grams:".encode():
            num_preceding = len(self._levels[-1].keys)
            raise self._error(
                f"expected the section \\{order}-grams: after the {num_preceding} {order - 1}-grams that the "
                "header states"
            )
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
                raise ValueError(f"{self._path} contains a duplicate 1-gram; remove the duplicate")
            all_keys, ascending = np.arange(count), np.arange(count)
        else:
            all_keys = np.concatenate(keys)
            ascending = np.argsort(all_keys, kind="stable")
            all_keys = all_keys[ascending]
            if (all_keys[1:] == all_keys[:-1]).any():
                raise ValueError(f"{self._path} contains a duplicate {order}-gram; remove the duplicate")
        weights = np.empty(0) if highest else np.concatenate(backoffs)[ascending]
        self._levels.append(Level(all_keys, np.concatenate(logs)[ascending], weights))

    def _keys(self, order: int, columns: list[pa.StringArray]) -> Ids:
        num_words = len(self._words)
        ids: list[NDArray[np.int64]] = []
        for column in columns:
            word_ids = pc.index_in(column, value_set=self._words)
            if word_ids.null_count:
                word = column.filter(word_ids.is_null())[0].as_py()
                raise ValueError(f"{self._path}: the word {word!r} of a {order}-gram is not among the 1-grams")
            ids.append(word_ids.to_numpy(zero_copy_only=False).astype(np.int64))
        prefix = ids[0]
        for level, words in zip(self._levels[1:], ids[1:-1], strict=True):
            prefix = find_ngrams(level, prefix, words, num_words)
        if (prefix == ABSENT).any():
            index = int(np.flatnonzero(prefix == ABSENT)[0])
            ngram = " ".join(column[index].as_py() for column in columns)
            raise ValueError(
                f"{self._path} contains {ngram!r} without its prefix, the {order - 1}-gram; write the file with a "
                "tool that keeps the prefixes of n-grams"
            )
        return prefix * num_words + ids[-1]

    def _blocks(self, order: int, count: int) -> Iterator[tuple[list[pa.StringArray], Logs, Logs]]:
        """The words, log-probabilities and back-off weights of the next ``count`` lines, in blocks."""
        remaining = count
        while remaining:
            lines = list(itertools.islice(self._file, min(remaining, _BLOCK)))
            try:
                texts = pa.array(lines, pa.binary()).cast(pa.string())
                fields = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(texts))
                lengths = pc.list_value_length(fields).to_numpy(zero_copy_only=False)
                if len(lines) < min(remaining, _BLOCK) or not np.isin(lengths, (order + 1, order + 2)).all():
                    offset = int(np.flatnonzero(~np.isin(lengths, (order + 1, order + 2)))[:1].sum())
                    self._line += offset
                    raise self._error(
                        f"expected a {order}-gram with its log-probability; the header states {count} {order}-grams"
                    )
                flat, starts = fields.flatten(), np.concatenate([[0], np.cumsum(lengths)[:-1]])
                log_probability = _natural(flat.take(pa.array(starts)))
                if not (log_probability <= _MAX_LOG).all():
                    raise self._error(f"a log-probability in the next {len(lines):,} lines is not a number up to 0")
                columns = [flat.take(pa.array(starts + index)) for index in range(1, order + 1)]
                backoff = np.zeros(len(lines))
                weighted = np.flatnonzero(lengths == order + 2)
                backoff[weighted] = _natural(flat.take(pa.array(starts[weighted] + order + 1)))
                if not (backoff < np.inf).all():
                    raise self._error(f"a back-off weight in the next {len(lines):,} lines is not finite")
            except pa.ArrowInvalid as error:
                raise self._error(f"in the next {len(lines):,} lines: {error}") from error
            self._line += len(lines)
            remaining -= len(lines)
            yield columns, log_probability, backoff

    def _error(self, message: str) -> ValueError:
        return ValueError(f"{self._path}, line {max(1, self._line)}: {message}")


def _natural(texts: pa.StringArray) -> Logs:
    logs = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.where(logs <= _LOG_ZERO, -np.inf, logs * _LN10)
