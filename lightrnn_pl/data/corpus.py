"""The ``Corpus`` interface and corpora of text files.  Text is read as a stream.

A corpus has up to three splits, ``train``, ``valid`` and ``test``.  A line is a list of words separated by whitespace.
Lines are read in blocks (Arrow lists of strings), so there are no Python loops over words.
"""

from __future__ import annotations

import glob
import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from lightrnn_pl.checks import check_path
from lightrnn_pl.data.archive_members import is_archive_name
from lightrnn_pl.data.line_blocks import is_compressed, line_blocks

SPLITS = ("train", "valid", "test")
_ROWS = 16384
_UNSUPPORTED = (".zst", ".lz4", ".7z", ".br")


class Corpus(ABC):
    """Lines of words in up to three splits: ``train``, ``valid`` and ``test``."""

    @abstractmethod
    def has(self, split: str) -> bool:
        """Whether the corpus has the split."""

    @abstractmethod
    def check(self) -> None:
        """Check everything that can be checked without reading the text.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If the corpus cannot be read for another reason.
        """

    @abstractmethod
    def fingerprint(self, split: str) -> str:
        """A string that changes whenever the text of the split changes."""

    @abstractmethod
    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        """The lines of a split as blocks of strings."""

    def num_bytes(self, split: str) -> int | None:
        """Approximate size of the text of a split in bytes, for a progress bar; None if it is unknown."""
        return None

    def location(self) -> str | None:
        """Where the training text is, for messages; None if the name of the corpus says so."""
        return None

    def texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        """The lines of a split as blocks of strings.

        Raises:
            ValueError: If the corpus does not have the split, or its text cannot be read.
        """
        if not self.has(split):
            raise ValueError(f"the corpus has no {split} text; set data.{split}")
        yield from self._texts(split)

    def blocks(self, split: str) -> Iterator[pa.ListArray]:
        """The lines of a split as blocks of lists of words; raises like ``texts``."""
        yield from map(split_words, self.texts(split))

    def lines(self, split: str) -> Iterator[list[str]]:
        """The lines of a split, one at a time.  Slow; for small texts and tests."""
        for block in self.blocks(split):
            yield from block.to_pylist()


def split_words(texts: pa.Array | pa.ChunkedArray) -> pa.ListArray:
    """Split every string at whitespace exactly like ``str.split``.  A null has no words."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    pieces = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.fill_null(texts.cast(pa.string()), "")))
    blank = pc.equal(pc.list_element(pieces, 0), "")  # an empty string splits into one empty word
    if not pc.any(blank).as_py():
        return pieces
    lengths = pc.if_else(blank, 0, pc.list_value_length(pieces))
    ends = pc.cumulative_sum(lengths).cast(pa.int32())
    words = pieces.flatten()
    return pa.ListArray.from_arrays(
        pa.concat_arrays([pa.array([0], pa.int32()), ends]), words.filter(pc.not_equal(words, ""))
    )


class TextCorpus(Corpus):
    """Text files in UTF-8.  Files ending in ``.gz``, ``.bz2`` or ``.xz`` are decompressed while being read.

    Args:
        train: A path, a pattern such as ``news-*.txt``, or a list of them.  The files of a pattern are read in sorted
            order.  None if there is no such split.
        valid: Like ``train``.
        test: Like ``train``.
        root: Base folder of relative paths; None for the working folder.
        instructions: How to obtain the files, for the error if one does not exist.

    Raises:
        ValueError: If a path is an address or an archive.
    """

    def __init__(
        self,
        train: str | Sequence[str] | None,
        valid: str | Sequence[str] | None = None,
        test: str | Sequence[str] | None = None,
        root: str | None = None,
        instructions: str | None = None,
    ) -> None:
        self._instructions = instructions
        given = {
            split: [paths] if isinstance(paths, str) else list(paths) if isinstance(paths, Sequence) else [paths]
            for split, paths in zip(SPLITS, (train, valid, test), strict=True)
            if paths is not None
        }
        for split, patterns in given.items():
            for pattern in patterns:
                _check_text_file(f"data.{split}", pattern)
        if root is not None:
            _check_text_file("data.root", root)
        self._patterns = {split: [str(Path(root or "") / path) for path in paths] for split, paths in given.items()}

    @override
    def has(self, split: str) -> bool:
        return split in self._patterns

    def files(self, split: str) -> list[Path]:
        """The files of a split in reading order.

        Raises:
            FileNotFoundError: If a file does not exist, or no file matches a pattern.
            ValueError: If the list is empty, or the compression of a file is not supported.
        """
        files = []
        for pattern in self._patterns[split]:
            if Path(pattern).is_file():
                files.append(Path(pattern))
                continue
            hint = f"(current working directory: {Path.cwd()})"
            if not glob.has_magic(pattern):
                kind = "is a folder, not a file" if Path(pattern).is_dir() else "does not exist"
                remedy = self._instructions or "pass the path of a text file"
                raise FileNotFoundError(f"data.{split}={pattern} {kind} {hint}; {remedy}")
            # pathlib does not support absolute patterns.
            matches = glob.glob(pattern, recursive=True)  # noqa: PTH207
            matching_files = sorted(path for path in map(Path, matches) if path.is_file())
            if not matching_files:
                remedy = f"; {self._instructions}" if self._instructions else ""
                raise FileNotFoundError(f"no file matches data.{split}={pattern} {hint}{remedy}")
            files += matching_files
        if not files:
            raise ValueError(f"data.{split} is an empty list; pass at least one file")
        for path in files:
            if path.suffix in _UNSUPPORTED:
                raise ValueError(
                    f"data.{split}: the compression of {path} is not supported; decompress it, or compress it with "
                    "gzip, bzip2 or xz (.gz, .bz2, .xz)"
                )
        return files

    @override
    def check(self) -> None:
        for split in self._patterns:
            for path in self.files(split):
                if path.stat().st_size == 0:
                    raise ValueError(f"data.{split}: the file {path} is empty; omit it or add text to it")

    @override
    def fingerprint(self, split: str) -> str:
        """A hash of the paths, sizes and modification times of the files."""
        stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in self.files(split)]
        return content_hash(["text", stats])

    @override
    def num_bytes(self, split: str) -> int | None:
        """The total size of the files, or None if one of them is compressed."""
        files = self.files(split)
        return None if any(is_compressed(path.name) for path in files) else sum(path.stat().st_size for path in files)

    @override
    def location(self) -> str | None:
        """The paths of the training text, relative to the working folder if they are below it."""
        paths = map(Path, self._patterns.get("train", ()))
        here = Path.cwd()
        return ", ".join(str(path.relative_to(here) if path.is_relative_to(here) else path) for path in paths) or None

    @override
    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        for path in self.files(split):
            with path.open("rb") as file:
                yield from line_blocks(file, f"data.{split}: {path}")


def _check_text_file(key: str, path: str) -> None:
    check_path(key, path)
    if "://" in path:
        raise ValueError(
            f"{key}={path} is an address, but text files are read from disk; for an archive, use data=archive "
            f"data.archive={path}, and otherwise, data=hub data.id=text 'data.data_files={{train: {path}}}'"
        )
    if is_archive_name(path):
        raise ValueError(
            f"{key}={path} is an archive; use data=archive data.archive={path} and set data.train, data.valid and "
            "data.test to its members"
        )


def arrow_column(dataset: Any, column: str) -> Iterator[pa.Array | pa.ChunkedArray]:
    """One column of a dataset in blocks."""
    for table in dataset.with_format("arrow").iter(batch_size=_ROWS):
        yield table.column(column)


def content_hash(content: Any) -> str:
    """SHA-256 of ``content`` as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def count_words(corpus: Corpus, split: str) -> Counter[str]:
    """Number of occurrences of each word of a split, without markers."""
    counts: Counter[str] = Counter()
    for block in corpus.blocks(split):
        block_counts = pc.value_counts(block.flatten())
        words, occurrences = (block_counts.field(number).to_pylist() for number in (0, 1))
        counts.update(dict(zip(words, occurrences, strict=True)))
    return counts
