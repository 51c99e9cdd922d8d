"""Words, ids and counts, and the rules that decide which words a model knows.

A vocabulary is built from the training text alone.  It knows words and their counts, and nothing of files of
text, vectors or tables; its markers (``<unk>``, ``<s>``, ``<eos>``) are words like all others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.files import atomic_write

_HEADER = "#lightrnn_pl.vocabulary"


class Vocabulary:
    """The words of a model in descending order of their counts in train; words of one count in alphabetical order.

    Args:
        words: V different words without white space; a word's place is its id.
        counts: How often each occurs in train, shape (V,).
        unknown: The word that stands for all others; None if there is none.
        begin: The word before the first of every line; None if there is none.
        end: The word after the last of every line; None if there is none.

    Raises:
        ValueError: If words and counts do not match, a word occurs twice, is empty or holds white space, or a marker
            is not among the words.
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
            raise ValueError(f"{len(self.words)} words need as many counts, got shape {self.counts.shape}")
        if len(self._ids) != len(self.words):
            twice = next(word for place, word in enumerate(self.words) if self._ids[word] != place)
            raise ValueError(f"the word {twice!r} stands in the vocabulary twice; keep one of them")
        if " ".join(self.words).split() != list(self.words):
            bad = next(word for word in self.words if word.split() != [word])
            raise ValueError(f"{bad!r} is no word: words are neither empty nor hold white space")
        for marker in (unknown, begin, end):
            if marker is not None and marker not in self._ids:
                raise ValueError(f"the marker {marker!r} is not among the words of the vocabulary; add it to them")

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __repr__(self) -> str:
        markers = f"unknown={self.unknown!r}, begin={self.begin!r}, end={self.end!r}"
        return f"Vocabulary({len(self)} words, {markers})"

    def id(self, word: str) -> int:
        """The id of ``word``, or of the unknown marker if the vocabulary does not have the word.

        Raises:
            ValueError: If the word is not known and there is no unknown marker.
        """
        known = self._ids.get(word, self.unknown_id)
        if known is None:
            raise ValueError(
                f"the word {word!r} is not in the vocabulary, and it has no marker for unknown words; "
                "set data.vocabulary.unknown, for example to '<unk>'"
            )
        return known

    @property
    def unknown_id(self) -> int | None:
        """The id of the unknown marker."""
        return None if self.unknown is None else self._ids[self.unknown]

    @property
    def begin_id(self) -> int | None:
        """The id of the begin marker."""
        return None if self.begin is None else self._ids[self.begin]

    @property
    def end_id(self) -> int | None:
        """The id of the end marker."""
        return None if self.end is None else self._ids[self.end]

    @property
    def context_id(self) -> int:
        """What is read before the very first word: the begin marker, else the end marker, else the unknown one."""
        for marker in (self.begin_id, self.end_id, self.unknown_id):
            if marker is not None:
                return marker
        return 0

    def encode(self, words: Iterable[str]) -> NDArray[np.int32]:
        """The ids of ``words``, shape (N,).

        Raises:
            ValueError: As ``id`` does.
        """
        return np.fromiter((self.id(word) for word in words), dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The words that ``ids`` stand for."""
        return [self.words[int(i)] for i in ids]

    def fingerprint(self) -> str:
        """SHA-256 of the words in order and the markers.

        Counts are left out: two vocabularies agree when every id means the same word.
        """
        digest = hashlib.sha256(json.dumps([self.unknown, self.begin, self.end]).encode())
        digest.update("\n".join(self.words).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain Python types that ``torch.load(weights_only=True)`` accepts."""
        return {
            "words": list(self.words),
            "counts": self.counts.tolist(),
            "unknown": self.unknown,
            "begin": self.begin,
            "end": self.end,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Vocabulary:
        """The vocabulary that ``state_dict`` was taken of."""
        return cls(state["words"], state["counts"], state["unknown"], state["begin"], state["end"])

    def save(self, path: str | Path) -> None:
        """Write a text file: a header naming the markers, then a line ``word<TAB>count`` a word, atomically."""
        markers = {"unknown": self.unknown, "begin": self.begin, "end": self.end}
        with atomic_write(path, "w") as file:
            file.write(f"{_HEADER}\t{json.dumps(markers, ensure_ascii=False)}\n")
            file.writelines(f"{word}\t{count}\n" for word, count in zip(self.words, self.counts.tolist(), strict=True))

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is something else, naming the first line that shows it.
        """
        with Path(path).open(encoding="utf-8", newline="\n") as file:
            name, _, markers = file.readline().partition("\t")
            if name != _HEADER:
                raise ValueError(f"{path} is no vocabulary that this package wrote: line 1 should begin {_HEADER!r}")
            words, counts = [], []
            for number, line in enumerate(file, start=2):
                word, tab, count = line.removesuffix("\n").partition("\t")
                if not (word and tab and count.isdigit()):
                    raise ValueError(f"{path}, line {number}: expected word<TAB>count, found {line[:80]!r}")
                words.append(word)
                counts.append(int(count))
        return cls(words, counts, **json.loads(markers))


@dataclass(frozen=True)
class VocabularyRules:
    """Which words of a training text get an id, and which markers stand between and for them.

    Args:
        min_count: Words seen fewer times are dropped.
        max_size: The most words to keep, markers counted among them; None for no limit.
        unknown: What dropped and unseen words become.  It is in the vocabulary even where no word was dropped, so
            that unseen words of test can be scored.  None: every word must be in the vocabulary.
        begin: The marker before every line; None for none.
        end: The marker after every line; None for none.
        file: A given vocabulary, one that ``Vocabulary.save`` wrote or one word a line; its words and the markers
            are kept whatever their counts, so ``min_count`` does not apply and ``max_size`` must be null.

    Raises:
        ValueError: Naming the rule, its value and the remedy.
    """

    min_count: int = 1
    max_size: int | None = None
    unknown: str | None = "<unk>"
    begin: str | None = None
    end: str | None = "<eos>"
    file: str | None = None

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ValueError(f"data.vocabulary.min_count must be at least 1, got {self.min_count}")
        if self.max_size is not None and self.max_size <= len(self.markers):
            raise ValueError(
                f"data.vocabulary.max_size={self.max_size} has no room for a word beside the markers "
                f"{list(self.markers)}; give at least {len(self.markers) + 1}, or null for no limit"
            )
        for name in ("unknown", "begin", "end"):
            marker = getattr(self, name)
            if marker is not None and marker.split() != [marker]:
                raise ValueError(f"data.vocabulary.{name}={marker!r} must be one word without white space, or null")
        if self.file is not None and self.max_size is not None:
            raise ValueError(
                f"data.vocabulary.max_size={self.max_size} does not go with data.vocabulary.file={self.file}: "
                "the file says which words to keep; set max_size to null or shorten the file"
            )

    @property
    def markers(self) -> tuple[str, ...]:
        """The markers that are set, each once."""
        return tuple(dict.fromkeys(m for m in (self.unknown, self.begin, self.end) if m is not None))

    def fingerprint(self) -> str:
        """SHA-256 of the rules and of the content of the given file."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        if self.file is not None:
            digest.update(self._read_file().encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def build(self, counts: Mapping[str, int]) -> Vocabulary:
        """The vocabulary that these rules make of how often each word, markers included, occurs in train.

        Raises:
            FileNotFoundError: If the given vocabulary file does not exist.
            ValueError: If a word would be dropped and there is no unknown marker.
        """
        markers = set(self.markers)
        if self.file is not None:
            given = dict.fromkeys(self._given_words())
            kept = {word: counts.get(word, 0) for word in given if word not in markers}
        else:
            kept = {word: n for word, n in counts.items() if n >= self.min_count and word not in markers}
        if self.max_size is not None and len(kept) > self.max_size - len(markers):
            ranked = sorted(kept.items(), key=_descending)
            kept = dict(ranked[: self.max_size - len(markers)])
        dropped = sum(n for word, n in counts.items() if word not in kept and word not in markers)
        if dropped and self.unknown is None:
            word = next(word for word in counts if word not in kept and word not in markers)
            raise ValueError(
                f"the rules drop {dropped} tokens of train, {word!r} among them, but data.vocabulary.unknown is null; "
                "set it, for example to '<unk>', or keep every word (min_count=1, max_size=null, file=null)"
            )
        kept.update({marker: counts.get(marker, 0) for marker in self.markers})
        if self.unknown is not None:
            kept[self.unknown] += dropped
        ordered = sorted(kept.items(), key=_descending)
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
            return Path(self.file).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise FileNotFoundError(
                f"data.vocabulary.file={self.file} does not exist (working folder: {Path.cwd()})"
            ) from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise ValueError(f"data.vocabulary.file={self.file}, line {line}: not UTF-8 ({error.reason})") from None

    def _given_words(self) -> list[str]:
        lines = self._read_file().split("\n")
        if lines[0].startswith(_HEADER + "\t"):
            lines = lines[1:]
        words = [line.split("\t")[0].strip() for line in lines]
        words = [word for word in words if word]
        if not words:
            raise ValueError(f"data.vocabulary.file={self.file} holds no words; it should hold one a line")
        return words


def _descending(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
