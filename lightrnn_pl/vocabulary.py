"""The vocabulary: words, ids and counts, and the rules that select its words.

A vocabulary is built from the training text only.  Its markers (``<unk>``, ``<s>``, ``<eos>``) are ordinary words
with an id and a count.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.checks import check_count
from lightrnn_pl.files import atomic_write, read_text

_HEADER = "#lightrnn_pl.vocabulary"
_COUNT = re.compile(r"[0-9]{1,18}")


class Vocabulary:
    """The words of a model.  The id of a word is its index.

    ``VocabularyRules.build`` sorts words by descending count in the training text, and alphabetically if counts are
    equal.

    Args:
        words: V distinct words without whitespace.
        counts: Number of occurrences of each word in the training text, shape (V,).
        unknown: The word that replaces all words outside the vocabulary; None if there is none.
        begin: The marker before every line; None if there is none.
        end: The marker after every line; None if there is none.

    Raises:
        ValueError: If words and counts differ in number, a word is duplicated, empty or contains whitespace, or a
            marker is not one of the words.
    """

    def __init__(
        self,
        words: Iterable[str],
        counts: Iterable[int] | NDArray[np.int64],
        unknown: str | None = None,
        begin: str | None = None,
        end: str | None = None,
    ) -> None:
        self.words = tuple(words)
        self.counts: NDArray[np.int64] = np.asarray(counts, dtype=np.int64)
        self.unknown, self.begin, self.end = unknown, begin, end
        if self.counts.shape != (len(self.words),):
            raise ValueError(f"counts must have shape ({len(self.words)},), one per word, got {self.counts.shape}")
        if len(self._ids) != len(self.words):
            duplicate = next(word for index, word in enumerate(self.words) if self._ids[word] != index)
            raise ValueError(f"the word {duplicate!r} is duplicated in the vocabulary; remove one of the entries")
        if " ".join(self.words).split() != list(self.words):
            invalid = next(word for word in self.words if word.split() != [word])
            raise ValueError(f"{invalid!r} is not a valid word; words must not be empty or contain whitespace")
        for marker in (unknown, begin, end):
            if marker is not None and marker not in self._ids:
                raise ValueError(f"the marker {marker!r} is not in the vocabulary; add it to the words")

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __repr__(self) -> str:
        markers = f"unknown={self.unknown!r}, begin={self.begin!r}, end={self.end!r}"
        return f"Vocabulary({len(self)} words, {markers})"

    def id(self, word: str) -> int:
        """The id of ``word``, or of the unknown word if ``word`` is not in the vocabulary.

        Raises:
            ValueError: If ``word`` is not in the vocabulary and there is no unknown word.
        """
        word_id = self._ids.get(word, self.unknown_id)
        if word_id is None:
            raise ValueError(
                f"the word {word!r} is not in the vocabulary, which has no unknown word; "
                "set data.vocabulary.unknown, for example to '<unk>'"
            )
        return word_id

    @property
    def unknown_id(self) -> int | None:
        """The id of the unknown word, or None."""
        return None if self.unknown is None else self._ids[self.unknown]

    @property
    def begin_id(self) -> int | None:
        """The id of the begin marker, or None."""
        return None if self.begin is None else self._ids[self.begin]

    @property
    def end_id(self) -> int | None:
        """The id of the end marker, or None."""
        return None if self.end is None else self._ids[self.end]

    @property
    def context_id(self) -> int:
        """The id of the word read before the first word of a text.

        This is the begin marker, the end marker or the unknown word, whichever exists first, and otherwise word 0.
        """
        for marker in (self.begin_id, self.end_id, self.unknown_id):
            if marker is not None:
                return marker
        return 0

    def encode(self, words: Iterable[str]) -> NDArray[np.int32]:
        """The ids of ``words``, shape (N,).

        Raises:
            ValueError: If a word is not in the vocabulary and there is no unknown word.
        """
        get, unknown_id = self._ids.get, self.unknown_id
        if unknown_id is None:
            return np.fromiter(map(self.id, words), dtype=np.int32)
        return np.fromiter((get(word, unknown_id) for word in words), dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words with the given ids."""
        return [self.words[int(i)] for i in ids]

    def fingerprint(self) -> str:
        """SHA-256 of the words in order and of the markers.

        Counts are excluded: vocabularies are considered equal if every id refers to the same word.
        """
        digest = hashlib.sha256(json.dumps([self.unknown, self.begin, self.end]).encode())
        digest.update("\n".join(self.words).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """The vocabulary as plain Python types, which ``torch.load(weights_only=True)`` accepts."""
        return {
            "words": list(self.words),
            "counts": self.counts.tolist(),
            "unknown": self.unknown,
            "begin": self.begin,
            "end": self.end,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Vocabulary:
        """The vocabulary with the given ``state_dict``."""
        return cls(state["words"], state["counts"], state["unknown"], state["begin"], state["end"])

    def save(self, path: str | Path) -> None:
        """Write a text file: a header with the markers, then one line ``word<TAB>count`` per word.

        The file is compressed if its name ends with ``.gz``.  Equal vocabularies give equal files.
        """
        markers = {"unknown": self.unknown, "begin": self.begin, "end": self.end}
        lines = [f"{_HEADER}\t{json.dumps(markers, ensure_ascii=False)}\n"]
        lines += (f"{word}\t{count}\n" for word, count in zip(self.words, self.counts.tolist(), strict=True))
        content = "".join(lines).encode("utf-8")
        with atomic_write(path) as file:
            file.write(gzip.compress(content, mtime=0) if Path(path).suffix == ".gz" else content)

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a file written by ``save``.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file has a different format.  The message contains the first invalid line.
        """
        path = Path(path)
        try:
            header, *lines = read_text(path).removesuffix("\n").split("\n")
            name, _, markers = header.partition("\t")
            if name != _HEADER:
                raise ValueError(f"line 1 must begin with {_HEADER!r}")
            words, counts = [], []
            for number, line in enumerate(lines, start=2):
                word, tab, count = line.partition("\t")
                if not (word and tab and _COUNT.fullmatch(count)):
                    raise ValueError(f"line {number}: expected word<TAB>count, found {line[:80]!r}")
                words.append(word)
                counts.append(int(count))
            return cls(words, counts, **_parse_markers(markers))
        except ValueError as error:
            raise ValueError(f"{path} is not a lightrnn_pl vocabulary file: {error}") from error


def _parse_markers(text: str) -> dict[str, str | None]:
    try:
        markers = json.loads(text)
        valid = markers.keys() == {"unknown", "begin", "end"}
        valid = valid and all(marker is None or isinstance(marker, str) for marker in markers.values())
    except (ValueError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise ValueError(f"line 1: expected the markers unknown, begin and end, found {text[:80]!r}")
    return markers


@dataclass(frozen=True)
class VocabularyRules:
    """Rules that select the words of the vocabulary and its markers.

    Args:
        min_count: Words that occur less often in the training text are dropped.
        max_size: Maximum size of the vocabulary, including markers; None for no limit.
        unknown: The word that replaces dropped and unseen words.  It is added even if no word is dropped, so that
            unseen words in validation and test text can be scored.  None: every word must be in the vocabulary.
        begin: The marker before every line; None for no marker.
        end: The marker after every line; None for no marker.
        file: A vocabulary file, written by ``Vocabulary.save`` or with one word per line, compressed if its name ends
            with ``.gz``.  The vocabulary consists of its words and the markers, so ``min_count`` does not apply and
            ``max_size`` must be None.
        ordered: Whether ids are in the order of ``file``, which must contain the markers, instead of by count.

    Raises:
        ValueError: If a rule is invalid.  The message contains its key, its value and a remedy.
    """

    min_count: int = 1
    max_size: int | None = None
    unknown: str | None = "<unk>"
    begin: str | None = None
    end: str | None = "<eos>"
    file: str | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        check_count("data.vocabulary.min_count", self.min_count)
        if self.max_size is not None:
            check_count("data.vocabulary.max_size", self.max_size)
        if self.max_size is not None and self.max_size <= len(self.markers):
            raise ValueError(
                f"data.vocabulary.max_size={self.max_size} leaves no space for words besides the markers "
                f"{list(self.markers)}; use at least {len(self.markers) + 1}, or null for no limit"
            )
        for name in ("unknown", "begin", "end"):
            marker = getattr(self, name)
            if marker is not None and marker.split() != [marker]:
                raise ValueError(f"data.vocabulary.{name}={marker!r} must be one word without whitespace, or null")
        if self.file is not None and self.max_size is not None:
            raise ValueError(
                f"data.vocabulary.max_size={self.max_size} cannot be combined with data.vocabulary.file={self.file}, "
                "which already determines the words; set max_size to null or shorten the file"
            )

        if self.ordered and self.file is None:
            raise ValueError(
                f"data.vocabulary.ordered={self.ordered} requires data.vocabulary.file; set it, or omit this"
            )

    @property
    def markers(self) -> tuple[str, ...]:
        """The configured markers without duplicates."""
        return tuple(dict.fromkeys(m for m in (self.unknown, self.begin, self.end) if m is not None))

    def fingerprint(self) -> str:
        """SHA-256 of the rules and of the content of the vocabulary file."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        if self.file is not None:
            digest.update(self._read_file().encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def build(self, counts: Mapping[str, int]) -> Vocabulary:
        """Build the vocabulary from the counts of all words and markers in the training text.

        Raises:
            FileNotFoundError: If the vocabulary file does not exist.
            ValueError: If a word would be dropped and there is no unknown word.
        """
        markers = set(self.markers)
        if self.file is not None:
            kept = {word: counts.get(word, 0) for word in self._words_in_file() if word not in markers}
        else:
            kept = {word: n for word, n in counts.items() if n >= self.min_count and word not in markers}
        if self.max_size is not None and len(kept) > self.max_size - len(markers):
            ranked = sorted(kept.items(), key=_sort_key)
            kept = dict(ranked[: self.max_size - len(markers)])
        dropped = sum(n for word, n in counts.items() if word not in kept and word not in markers)
        if dropped and self.unknown is None:
            word = next(word for word in counts if word not in kept and word not in markers)
            raise ValueError(
                f"the vocabulary settings drop {dropped} training tokens, such as {word!r}, but "
                "data.vocabulary.unknown is null; set it, for example to '<unk>', or keep every word (min_count=1, "
                "max_size=null, file=null)"
            )
        kept.update({marker: counts.get(marker, 0) for marker in self.markers})
        if self.unknown is not None:
            kept[self.unknown] += dropped
        if self.ordered:
            words = self._words_in_file()
            missing = markers.difference(words)
            if missing:
                raise ValueError(
                    f"data.vocabulary.file={self.file} does not contain the marker {min(missing)!r}; add it"
                )
            ordered = [(word, kept[word]) for word in words]
        else:
            ordered = sorted(kept.items(), key=_sort_key)
        return Vocabulary(
            (word for word, _ in ordered),
            np.fromiter((n for _, n in ordered), dtype=np.int64, count=len(ordered)),
            self.unknown,
            self.begin,
            self.end,
        )

    def _read_file(self) -> str:
        assert self.file is not None
        try:
            return read_text(self.file)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"data.vocabulary.file={self.file} does not exist (current working directory: {Path.cwd()})"
            ) from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise ValueError(f"data.vocabulary.file={self.file}, line {line}: not UTF-8 ({error.reason})") from None
        except ValueError as error:
            raise ValueError(f"data.vocabulary.file={self.file} cannot be read: {error}") from None

    def _words_in_file(self) -> list[str]:
        lines = self._read_file().split("\n")
        if lines[0].startswith(_HEADER + "\t"):
            lines = lines[1:]
        words = [line.split("\t")[0].strip() for line in lines]
        words = [word for word in words if word]
        if not words:
            raise ValueError(f"data.vocabulary.file={self.file} contains no words; it must have one word per line")
        return words


def _sort_key(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
