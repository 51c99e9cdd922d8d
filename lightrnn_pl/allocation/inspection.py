"""Inspection of word tables: typical words of a row (LightRNN, Figure 5), neighbors of a word, and reallocated words.

The typical words of a row are its most frequent ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from lightrnn_pl.allocation.word_allocation import WordAllocation


def typical_words(
    allocation: WordAllocation,
    words: Sequence[str],
    counts: Int[np.ndarray, " V"],
    axis: int = 0,
    limit: int = 10,
) -> dict[int, list[str]]:
    """The most frequent words of each row (or of each code of another axis), most frequent first.

    Codes without words are omitted.
    """
    _check_words(allocation, words)
    codes = allocation.codes[:, axis].tolist()
    groups: dict[int, list[str]] = {code: [] for code in sorted(set(codes))}
    for word in np.argsort(-np.asarray(counts), kind="stable").tolist():
        if len(groups[codes[word]]) < limit:
            groups[codes[word]].append(words[word])
    return groups


def most_frequent_codes(
    allocation: WordAllocation, counts: Int[np.ndarray, " V"], axis: int = 0, limit: int = 10
) -> dict[int, float]:
    """The rows (or codes of another axis) with the most tokens, and their share of all tokens, largest first.

    Codes without words are omitted.  If all counts are zero, the codes are returned in ascending order.
    """
    codes = allocation.codes[:, axis].long().cpu().numpy()
    mass = np.bincount(codes, weights=counts, minlength=allocation.sides[axis])
    total = max(1.0, float(mass.sum()))
    used = np.flatnonzero(np.bincount(codes, minlength=len(mass)))
    most_frequent = used[np.argsort(-mass[used], kind="stable")][:limit]
    return {int(code): float(mass[code]) / total for code in most_frequent}


def typical_codes(
    allocation: WordAllocation,
    words: Sequence[str],
    counts: Int[np.ndarray, " V"],
    axis: int = 0,
    codes: int = 10,
    limit: int = 10,
) -> list[dict[str, Any]]:
    """The ``most_frequent_codes`` with their share of the text and their ``typical_words``, as entries for JSON."""
    groups = typical_words(allocation, words, counts, axis, limit)
    shares = most_frequent_codes(allocation, counts, axis, codes)
    return [{"code": code, "share": share, "words": groups[code]} for code, share in shares.items()]


def format_rows(rows: dict[int, list[str]]) -> str:
    """``typical_words`` as one line per row, like the paper's Figure 5."""
    return "\n".join(f"row {row:<5} {' '.join(words)}" for row, words in rows.items())


def neighbors(allocation: WordAllocation, words: Sequence[str], word: str) -> dict[int, list[str]]:
    """For each axis, the other words with the same code: those of the same row (axis 0), of the same column (1), ...

    The words are in the order of their ids, which is that of descending frequency.

    Raises:
        ValueError: If the word is not in the vocabulary.  The message suggests words with a similar spelling.
    """
    _check_words(allocation, words)
    if word not in words:
        suggestions = similar_words(words, word)
        hint = f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else ""
        raise ValueError(f"the word {word!r} is not in the vocabulary{hint}")
    number = words.index(word)
    same = allocation.codes == allocation.codes[number]
    same[number] = False
    return {axis: [words[other] for other in same[:, axis].nonzero()[:, 0]] for axis in range(same.shape[1])}


def similar_words(words: Sequence[str], word: str, limit: int = 3) -> list[str]:
    """Up to ``limit`` words with a spelling similar to ``word``, ignoring case."""
    # Words whose lengths differ by more than 2 are rarely close enough.  Skipping them saves most of the time.
    lowered: dict[str, str] = {}
    for other in words:
        if abs(len(other) - len(word)) <= 2:
            lowered.setdefault(other.lower(), other)
    return [lowered[match] for match in difflib.get_close_matches(word.lower(), lowered, limit)]


def group_reallocations(
    before: Int[Tensor, "V k"], after: Int[Tensor, "V k"], words: Sequence[str]
) -> dict[tuple[int, int], list[str]]:
    """Words whose codes differ, grouped by old and new row, largest group first."""
    if not len(before) == len(after) == len(words):
        raise ValueError(
            f"cannot compare tables with {len(before)} and {len(after)} words for a list of {len(words)} words; all "
            "three numbers must be equal"
        )
    groups: dict[tuple[int, int], list[str]] = {}
    for word in (before != after).any(-1).nonzero()[:, 0].tolist():
        groups.setdefault((int(before[word, 0]), int(after[word, 0])), []).append(words[word])
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def format_reallocations(groups: dict[tuple[int, int], list[str]], limit: int = 10) -> str:
    """``group_reallocations`` as one line per group: old row, new row, number of words, and the first words."""
    lines = []
    for (old, new), words in groups.items():
        rows = f"within row {old}" if old == new else f"row {old} -> {new}"
        rest = f" and {len(words) - limit} more" if len(words) > limit else ""
        lines.append(f"{rows}: {len(words)} words: {' '.join(words[:limit])}{rest}")
    return "\n".join(lines)


def _check_words(allocation: WordAllocation, words: Sequence[str]) -> None:
    if len(words) != allocation.num_words:
        raise ValueError(
            f"got {len(words)} words for a table with {allocation.num_words}; pass every word of the vocabulary"
        )
