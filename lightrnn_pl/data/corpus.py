"""Where text comes from: files, the Hugging Face hub, or a dataset on disk, always read as a stream.

A corpus has up to three splits, ``train``, ``valid`` and ``test``.  A line is a list of words separated by whitespace;
lines come in blocks (Arrow lists of strings), so that nothing here loops over words.  Knows nothing of vocabularies
and markers.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import json
import lzma
import urllib.error
import urllib.request
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

SPLITS = ("train", "valid", "test")
_ROWS = 16384
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Corpus(ABC):
    """Lines of words in up to three splits."""

    @abstractmethod
    def has(self, split: str) -> bool:
        """Whether there is such a split."""

    @abstractmethod
    def check(self) -> None:
        """Find out at once whatever can be found out without reading the text.

        Raises:
            FileNotFoundError: If files do not exist.
            ValueError: If something else was given that cannot be read.
        """

    @abstractmethod
    def fingerprint(self, split: str) -> str:
        """A string that changes when the text does."""

    @abstractmethod
    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        """The lines of a split as strings, in blocks."""

    def num_bytes(self, split: str) -> int | None:
        """About how many bytes of text the split has, for a progress bar; None if nobody knows."""
        return None

    def blocks(self, split: str) -> Iterator[pa.ListArray]:
        """The lines of a split as lists of words, in blocks of many lines.

        Raises:
            ValueError: If there is no such split, or its text cannot be read.
        """
        if not self.has(split):
            raise ValueError(f"the corpus has no {split} text; set data.{split}")
        for texts in self._texts(split):
            yield split_words(texts)

    def lines(self, split: str) -> Iterator[list[str]]:
        """The lines of a split one by one; slow, meant for small texts and tests."""
        for block in self.blocks(split):
            yield from block.to_pylist()


def split_words(texts: pa.Array | pa.ChunkedArray) -> pa.ListArray:
    """Split every string at white space exactly as ``str.split`` does; a missing string has no words."""
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
    """Text files in UTF-8, one line a line; ``.gz``, ``.bz2`` and ``.xz`` are unpacked while being read.

    Args:
        train: A path, a pattern such as ``news-*.txt``, or a list of them; files of a pattern come in sorted order.
        valid: As ``train``, or None.
        test: As ``train``, or None.
        root: Folder that relative paths start from; None for the working folder.
    """

    def __init__(
        self,
        train: str | Sequence[str],
        valid: str | Sequence[str] | None = None,
        test: str | Sequence[str] | None = None,
        root: str | None = None,
    ) -> None:
        self._patterns = {
            split: [str(Path(root or "") / pattern) for pattern in ([given] if isinstance(given, str) else given)]
            for split, given in zip(SPLITS, (train, valid, test), strict=True)
            if given is not None
        }

    def has(self, split: str) -> bool:
        """Whether files were given for ``split``."""
        return split in self._patterns

    def files(self, split: str) -> list[Path]:
        """The files of a split in the order they are read.

        Raises:
            FileNotFoundError: If a file does not exist, or no file matches a pattern.
        """
        files = []
        for pattern in self._patterns[split]:
            if Path(pattern).is_file():
                files.append(Path(pattern))
                continue
            where = f"(working folder: {Path.cwd()})"
            if not glob.has_magic(pattern):
                kind = "is a folder, not a file" if Path(pattern).is_dir() else "does not exist"
                raise FileNotFoundError(f"data.{split}={pattern} {kind} {where}; give the path of a text file")
            # pathlib knows no absolute patterns.
            matches = glob.glob(pattern, recursive=True)  # noqa: PTH207
            found = sorted(path for path in map(Path, matches) if path.is_file())
            if not found:
                raise FileNotFoundError(f"no file matches data.{split}={pattern} {where}")
            files += found
        if not files:
            raise ValueError(f"data.{split} is an empty list; give at least one file")
        return files

    def check(self) -> None:
        """Every file is there and none is empty."""
        for split in self._patterns:
            for path in self.files(split):
                if path.stat().st_size == 0:
                    raise ValueError(f"data.{split}: the file {path} is empty; remove it or fill it")

    def fingerprint(self, split: str) -> str:
        """Of paths, sizes and times of change."""
        stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in self.files(split)]
        return _hash(["text", stats])

    def num_bytes(self, split: str) -> int | None:
        """The sizes of the files, if none of them is packed."""
        files = self.files(split)
        return None if any(path.suffix in _OPENERS for path in files) else sum(path.stat().st_size for path in files)

    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        import datasets

        files = self.files(split)
        # Not load_dataset, which reports every call to the library's makers and waits for a network to do so.
        paths = [glob.escape(str(path.resolve())) for path in files]
        dataset = datasets.Dataset.from_text(paths, encoding="utf-8-sig", streaming=True)
        try:
            for texts in _arrow_column(dataset, "text"):
                # UTF-16 without a byte order mark decodes as UTF-8, with NULs between the letters.
                if pc.any(pc.match_substring(texts, "\0")).as_py():
                    raise ValueError(_undecodable(split, files))
                yield texts
        except UnicodeDecodeError:
            raise ValueError(_undecodable(split, files)) from None
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            names = ", ".join(map(str, files))
            raise ValueError(f"data.{split}: a packed file among {names} is damaged or cut off ({error})") from error


class HubCorpus(Corpus):
    """A dataset of the Hugging Face hub, each row of one column being a line.

    Args:
        id: Name of the dataset, or ``parquet``, ``json``, ``csv``, ``text`` to read ``data_files`` of that kind.
        config: Configuration of the dataset, if it has several.
        revision: Branch, tag or commit; None for the newest.
        data_files: Files to read instead of the dataset's own splits, by split.
        column: The column with the text.
        splits: Name that the dataset has for each of train, valid and test; None where there is none.
        streaming: True reads over the network without keeping anything but the token cache; False downloads first.
    """

    def __init__(
        self,
        id: str,
        config: str | None = None,
        revision: str | None = None,
        data_files: Mapping[str, Any] | None = None,
        column: str = "text",
        splits: Mapping[str, str | None] | None = None,
        streaming: bool = True,
    ) -> None:
        self.id, self.config, self.revision, self.column = id, config, revision, column
        self.data_files = None if data_files is None else dict(data_files)
        self.streaming = streaming
        names = {"train": "train", "valid": "validation", "test": "test"} if splits is None else splits
        self._splits = {split: name for split, name in names.items() if name is not None}
        self._opened: dict[str, Any] = {}

    def has(self, split: str) -> bool:
        """Whether a name was given for ``split``."""
        return split in self._splits

    def check(self) -> None:
        """The hub answers, and has the splits and the column."""
        for split in self._splits:
            self._open(split)

    def fingerprint(self, split: str) -> str:
        """Of the names given, so that a cache serves without the hub; give a revision to be sure which text it is."""
        names = [self.id, self.config, self.revision, self.data_files, self.column, self._splits[split]]
        return _hash(["hub", names])

    @property
    def _name(self) -> str:
        parts = [f"data.id={self.id}"]
        parts += [f"data.{key}={getattr(self, key)}" for key in ("config", "revision") if getattr(self, key)]
        return ", ".join(parts)

    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        yield from _arrow_column(self._open(split), self.column)

    def _open(self, split: str) -> Any:
        import datasets

        if split in self._opened:
            return self._opened[split]
        if not _is_builder(self.id) or "://" in str(self.data_files):
            self._require_hub()
        try:
            dataset = datasets.load_dataset(
                self.id,
                self.config,
                revision=self.revision,
                data_files=self.data_files,
                split=self._splits[split],
                # What was downloaded before can be read without the hub, but not streamed from it.
                streaming=self.streaming and not (_offline() and not _is_builder(self.id)),
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self._name} has no such files: {error}") from error
        except Exception as error:  # the library raises a dozen kinds; whichever it is, nothing can be read
            raise ValueError(
                f"{self._name}, data.{split}={self._splits[split]} cannot be read: {error}\n"
                "Check data.id, data.config, data.revision and the names of the splits, or give files: "
                "data=text data.train=... data.valid=... data.test=..."
            ) from error
        _check_column(dataset, self.column, self._name)
        self._opened[split] = dataset
        return dataset

    def _require_hub(self) -> None:
        """Ask the hub for a sign of life, because the library tries for half a minute before it gives up."""
        from huggingface_hub import constants

        if _offline():
            return
        try:
            urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers
        except OSError as error:
            raise ValueError(
                f"{self._name}: the Hugging Face hub at {constants.ENDPOINT} cannot be reached ({error}). Set "
                "HF_HUB_OFFLINE=1 to use what was downloaded before, or give files: data=text data.train=... "
                "data.valid=... data.test=..."
            ) from error


class DiskCorpus(Corpus):
    """A dataset that ``save_to_disk`` wrote, each row of one column being a line.

    Args:
        path: Folder of a dataset with splits, or of one without, which is then all train.
        column: The column with the text.
        splits: Name that the dataset has for each of train, valid and test; None where there is none.
    """

    def __init__(self, path: str, column: str = "text", splits: Mapping[str, str | None] | None = None) -> None:
        self.path, self.column = path, column
        names = {"train": "train", "valid": "validation", "test": "test"} if splits is None else splits
        self._splits = {split: name for split, name in names.items() if name is not None}

    def has(self, split: str) -> bool:
        """Whether a name was given for ``split``."""
        return split in self._splits

    def check(self) -> None:
        """The folder is a dataset and has the splits and the column."""
        for split in self._splits:
            self._open(split)

    def fingerprint(self, split: str) -> str:
        """Of the fingerprint that the library keeps of the data."""
        return _hash(["disk", self._open(split)._fingerprint, self.column])

    def num_bytes(self, split: str) -> int | None:
        """The size of the split's table."""
        return int(self._open(split).data.nbytes)

    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        yield from _arrow_column(self._open(split), self.column)

    def _open(self, split: str) -> Any:
        import datasets

        if not Path(self.path).exists():
            raise FileNotFoundError(f"data.path={self.path} does not exist (working folder: {Path.cwd()})")
        try:
            dataset = datasets.load_from_disk(self.path)
        except FileNotFoundError as error:
            raise ValueError(
                f"data.path={self.path} is no folder that save_to_disk wrote ({error}); text files are read with "
                "data=text data.train=..."
            ) from error
        name = self._splits[split]
        if isinstance(dataset, datasets.DatasetDict):
            if name not in dataset:
                raise ValueError(
                    f"data.path={self.path} has no split data.{split}={name}; it has {', '.join(dataset)}"
                    + ("" if split == "train" else f" (data.{split}=null goes without)")
                )
            dataset = dataset[name]
        elif split != "train":
            raise ValueError(
                f"data.path={self.path} has no splits, so there is no data.{split}={name}; save a DatasetDict, or go "
                f"without by data.{split}=null"
            )
        _check_column(dataset, self.column, f"data.path={self.path}")
        return dataset


def _arrow_column(dataset: Any, column: str) -> Iterator[pa.Array | pa.ChunkedArray]:
    for table in dataset.with_format("arrow").iter(batch_size=_ROWS):
        yield table.column(column)


def _check_column(dataset: Any, column: str, name: str) -> None:
    columns = dataset.column_names or list(next(iter(dataset), {column: ""}))
    if column not in columns:
        raise ValueError(f"{name} has no column data.column={column}; it has {', '.join(columns)}")


def _is_builder(id: str) -> bool:
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    return id in _PACKAGED_DATASETS_MODULES


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _undecodable(split: str, files: list[Path]) -> str:
    """What to tell about the first bytes of ``files`` that are not UTF-8 text."""
    for path in files:
        with _OPENERS.get(path.suffix, open)(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    return (
                        f"data.{split}: {path}, line {number}: byte {error.start + 1} of the line is not UTF-8 "
                        f"(0x{line[error.start]:02x}, {error.reason}); convert the file, for example with iconv"
                    )
                if (place := line.find(b"\0")) >= 0:
                    return (
                        f"data.{split}: {path}, line {number}: byte {place + 1} of the line is NUL, as in UTF-16 or a "
                        "binary file; convert the file to UTF-8, for example with iconv"
                    )
    return f"data.{split}: one of {', '.join(map(str, files))} is not UTF-8"


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
