"""The token cache: a corpus encoded as word ids once, and memory-mapped afterwards.

A cache is a folder whose name contains a hash of the corpus, the vocabulary rules and the version of this module::

    vocabulary          words and counts of the training split
    train.bin ...       ids of a split, int32, including markers
    train.lines ...     number of ids per line, int32
    meta.json           sizes, written last

A cache is built in a temporary folder under a lock, and renamed when it is complete.  An interrupted run therefore
leaves no incomplete cache, and concurrent runs build a cache only once.  The training text is read once: words get
provisional ids in the order of their first occurrence, which are replaced when all counts are known.  Memory use is
limited to the distinct words and one block of lines.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from typing_extensions import override

from lightrnn_pl.data.corpus import SPLITS, Corpus
from lightrnn_pl.data.indexed_lines import IndexedLines, index_blocks
from lightrnn_pl.files import explain_unwritable, write_json
from lightrnn_pl.vocabulary import Vocabulary, VocabularyRules

_VERSION = 1  # increment when the format or the splitting into words changes
_CHUNK = 1 << 22


@dataclass(frozen=True)
class TokenCache:
    """A corpus encoded as word ids.

    Attributes:
        folder: The folder of the cache.
        vocabulary: The vocabulary of the ids.
        num_tokens: Number of targets by split: words and end markers, but not begin markers.
    """

    folder: Path
    vocabulary: Vocabulary
    num_tokens: dict[str, int]

    def tokens(self, split: str) -> NDArray[np.int32]:
        """The ids of a split, including begin and end markers, shape (N,), as a memory map."""
        return np.memmap(self.folder / f"{split}.bin", dtype=np.int32, mode="r")

    def num_ids(self, split: str) -> int:
        """Number of words and markers of a split."""
        return len(self.tokens(split))

    def lengths(self, split: str) -> NDArray[np.int32]:
        """Number of ids per line, shape (lines,), as a memory map."""
        return np.memmap(self.folder / f"{split}.lines", dtype=np.int32, mode="r")


def open_cache(corpus: Corpus, rules: VocabularyRules, cache_dir: str | Path, name: str = "corpus") -> TokenCache:
    """Open the token cache of a corpus.  The cache is built if it does not exist.

    Args:
        corpus: The text.
        rules: The rules that select the vocabulary.
        cache_dir: Folder of all caches.
        name: Prefix of the cache folder.

    Raises:
        FileNotFoundError: If a file of the corpus does not exist.
        ValueError: If the text cannot be read or is empty, or a word is not in a vocabulary without unknown word.
        OSError: If the disk is full or the folder is not writable.  The message contains the path and a remedy.
    """
    splits = [split for split in SPLITS if corpus.has(split)]
    key = json.dumps([_VERSION, rules.fingerprint(), [[split, corpus.fingerprint(split)] for split in splits]])
    prefix = re.sub(r"[^\w.-]+", "-", name)
    folder = Path(cache_dir) / f"{prefix}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if (cache := _open(folder, splits)) is not None:
        return cache
    corpus.check()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if (cache := _open(folder, splits)) is not None:
                return cache
            partial = folder.with_name(f".{folder.name}.part")
            for leftover in (partial, folder):  # left by an interrupted run, or incomplete
                shutil.rmtree(leftover, ignore_errors=True)
            try:
                partial.mkdir()
                _build(partial, corpus, rules, splits)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if not _is_cache_error(error, folder):
            raise  # a file of the corpus cannot be opened
        raise explain_unwritable(error, folder) from error
    cache = _open(folder, splits)
    assert cache is not None, f"the cache just written to {folder} is not valid"
    return cache


def _is_cache_error(error: OSError, folder: Path) -> bool:
    """Whether an error was raised while writing the cache.  This is assumed for errors without a file name."""
    if error.filename is None:
        return True
    path = Path(str(error.filename))
    # Either a path within the cache, whose folder name contains a unique hash, or one of its parent folders.
    return folder.name in str(path) or folder.absolute().is_relative_to(path.absolute())


def _open(folder: Path, splits: list[str]) -> TokenCache | None:
    """The cache in ``folder``, or None if it does not exist or is incomplete."""
    try:
        meta = _Meta.model_validate_json((folder / "meta.json").read_bytes())
        files = {"vocabulary", *(f"{split}.{suffix}" for split in splits for suffix in ("bin", "lines"))}
        if meta.sizes.keys() != files or meta.num_tokens.keys() != set(splits):
            return None
        if any((folder / name).stat().st_size != size for name, size in meta.sizes.items()):
            return None
        if any(_checksum(folder / name) != checksum for name, checksum in meta.checksums.items()):
            return None
        return TokenCache(folder, Vocabulary.load(folder / "vocabulary"), meta.num_tokens)
    except (OSError, ValueError):
        return None


class _Meta(BaseModel):
    """The content of meta.json."""

    num_tokens: dict[str, int]
    sizes: dict[str, int]
    checksums: dict[str, int] = {}  # missing in caches of earlier releases


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _build(folder: Path, corpus: Corpus, rules: VocabularyRules, splits: list[str]) -> None:
    counter = WordCounter(rules)
    num_tokens = {"train": _write(folder, corpus, "train", counter)}
    vocabulary = rules.build(counter.counts())
    ids = counter.final_ids(vocabulary)
    with (folder / "train.bin").open("r+b") as file:
        while chunk := file.read(_CHUNK):
            file.seek(-len(chunk), 1)
            file.write(ids[np.frombuffer(chunk, dtype=np.int32)].data)
    encoder = WordEncoder(vocabulary)
    for split in splits:
        if split != "train":
            num_tokens[split] = _write(folder, corpus, split, encoder)
    vocabulary.save(folder / "vocabulary")
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    checksums = {name: _checksum(folder / name) for name in sizes}
    meta = {"version": _VERSION, "num_tokens": num_tokens, "sizes": sizes, "checksums": checksums}
    write_json(folder / "meta.json", meta)


def _write(folder: Path, corpus: Corpus, split: str, encoder: LineEncoder) -> int:
    """Write the ids of a split and the lengths of its lines.  Returns the number of targets."""
    num_tokens = 0
    with (folder / f"{split}.bin").open("wb") as ids_file, (folder / f"{split}.lines").open("wb") as lengths_file:
        for ids, lengths in encoded_blocks(corpus, split, encoder):
            ids_file.write(ids.data)
            lengths_file.write(lengths.data)
            num_tokens += encoder.num_targets(ids)
    return num_tokens


def encoded_blocks(
    corpus: Corpus, split: str, encoder: LineEncoder, progress: bool = True
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Encode a split in blocks of lines.

    Args:
        corpus: The text.
        split: The split to encode.
        encoder: Maps words to ids.
        progress: Whether to show a progress bar.

    Yields:
        The ids of a block of lines including markers, shape (N,), and the number of ids per line, shape (lines,).

    Raises:
        ValueError: If the split contains no words, or a word has no id.  The message contains the split.
    """
    num_words = 0
    blocks = index_blocks(corpus.texts(split), encoder.begin_id is not None, encoder.end_id is not None)
    num_bytes = corpus.num_bytes(split) if progress else None
    with contextlib.closing(blocks), _progress(num_bytes, f"reading {split}", disable=not progress) as advance:
        for block in blocks:
            num_words += len(block.indices) - len(block.lengths) * encoder.markers_per_line
            try:
                yield encoder.encode(block), block.lengths
            except ValueError as error:
                raise ValueError(f"data.{split}: {error}") from error
            advance(block.num_bytes, num_words)
    if num_words == 0:
        raise ValueError(f"data.{split} contains no words; use a non-empty text")


@dataclass(frozen=True)
class TokenStream:
    """The ids of a split in blocks, encoded again in each iteration."""

    corpus: Corpus
    split: str
    vocabulary: Vocabulary

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        for ids, _ in encoded_blocks(self.corpus, self.split, WordEncoder(self.vocabulary)):
            yield ids


class LineEncoder(ABC):
    """Maps the words of lines to ids."""

    begin_id: int | None
    end_id: int | None

    @property
    def markers_per_line(self) -> int:
        """Number of markers that are added to every line."""
        return int(self.begin_id is not None) + int(self.end_id is not None)

    def encode(self, lines: IndexedLines) -> NDArray[np.int32]:
        """The ids of the lines, including markers, shape (N,).

        Raises:
            ValueError: If a word has no id.
        """
        return self._table(lines)[lines.indices]

    def num_targets(self, ids: NDArray[np.int32]) -> int:
        """Number of ``ids`` that are targets: all except begin markers."""
        return len(ids) if self.begin_id is None else int((ids != self.begin_id).sum())

    @abstractmethod
    def _word_ids(self, words: list[str]) -> NDArray[np.int32]:
        """The id of each distinct word."""

    def _table(self, lines: IndexedLines) -> NDArray[np.int32]:
        """The id of each index."""
        markers = [marker or 0 for marker in (self.begin_id, self.end_id)]
        return np.append(self._word_ids(lines.words), np.array(markers, dtype=np.int32))


class WordCounter(LineEncoder):
    """Assigns provisional ids in the order of first occurrence, and counts words."""

    def __init__(self, rules: VocabularyRules) -> None:
        self._known = {marker: index for index, marker in enumerate(rules.markers)}
        self._counts = np.zeros(1 << 16, dtype=np.int64)
        self.begin_id = None if rules.begin is None else self._known[rules.begin]
        self.end_id = None if rules.end is None else self._known[rules.end]

    @override
    def encode(self, lines: IndexedLines) -> NDArray[np.int32]:
        """The ids of the lines, whose words and markers are counted."""
        table = self._table(lines)
        if len(self._known) > len(self._counts):
            self._counts = np.pad(self._counts, (0, len(self._known)))
        # A marker may also be a word of the text, so ids can repeat.
        np.add.at(self._counts, table, np.bincount(lines.indices, minlength=len(table)))
        return table[lines.indices]

    @override
    def _word_ids(self, words: list[str]) -> NDArray[np.int32]:
        known = self._known
        return np.array([known.setdefault(word, len(known)) for word in words], dtype=np.int32)

    def counts(self) -> dict[str, int]:
        """Number of occurrences of each word and marker that occurred."""
        return {word: n for word, n in zip(self._known, self._counts.tolist(), strict=False) if n}

    def final_ids(self, vocabulary: Vocabulary) -> NDArray[np.int32]:
        """The id in ``vocabulary`` of each provisional id."""
        return vocabulary.encode(self._known)


class WordEncoder(LineEncoder):
    """Maps words to their ids in a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.begin_id, self.end_id = vocabulary.begin_id, vocabulary.end_id

    @override
    def _word_ids(self, words: list[str]) -> NDArray[np.int32]:
        return self._vocabulary.encode(words)


@contextlib.contextmanager
def _progress(num_bytes: int | None, description: str, disable: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr.  Yields a function that advances it by bytes and updates the number of words."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]:,} words")
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=disable) as bar:
        task = bar.add_task(description, total=num_bytes, words=0)
        yield lambda advance, words: bar.update(task, advance=advance, words=words)
        bar.update(task, total=1, completed=1)
