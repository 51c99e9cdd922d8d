"""Looking at word tables: the words of a row (LightRNN, figure 5), a word's neighbours, what moved between two tables.

Knows words, counts and codes; a word is typical here if it is frequent.
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
    """The most frequent words of each row (or of each code of another axis), the most frequent first.

    Codes that no word has are left out.
    """
    _check_words(allocation, words)
    codes = allocation.codes[:, axis].tolist()
    groups: dict[int, list[str]] = {code: [] for code in sorted(set(codes))}
    for word in np.argsort(-np.asarray(counts), kind="stable").tolist():
        if len(groups[codes[word]]) < limit:
            groups[codes[word]].append(words[word])
    return groups


def heaviest_codes(
    allocation: WordAllocation, counts: Int[np.ndarray, " V"], axis: int = 0, limit: int = 10
) -> dict[int, float]:
    """The rows (or codes of another axis) whose words are most of the text, and which share of it, the largest first.

    Codes that no word has are left out; where all counts are zero the codes come in order.
    """
    codes = allocation.codes[:, axis].long().cpu().numpy()
    mass = np.bincount(codes, weights=counts, minlength=allocation.sides[axis])
    total = max(1.0, float(mass.sum()))
    used = np.flatnonzero(np.bincount(codes, minlength=len(mass)))
    heaviest = used[np.argsort(-mass[used], kind="stable")][:limit]
    return {int(code): float(mass[code]) / total for code in heaviest}


def typical_codes(
    allocation: WordAllocation,
    words: Sequence[str],
    counts: Int[np.ndarray, " V"],
    axis: int = 0,
    codes: int = 10,
    limit: int = 10,
) -> list[dict[str, Any]]:
    """The ``heaviest_codes`` with their ``typical_words``: ``code``, ``share`` of the text, ``words``; for JSON."""
    groups = typical_words(allocation, words, counts, axis, limit)
    shares = heaviest_codes(allocation, counts, axis, codes)
    return [{"code": code, "share": share, "words": groups[code]} for code, share in shares.items()]


def format_rows(rows: dict[int, list[str]]) -> str:
    """``typical_words`` as lines like those of the paper's figure."""
    return "\n".join(f"row {row:<5} {' '.join(words)}" for row, words in rows.items())


def neighbours(allocation: WordAllocation, words: Sequence[str], word: str) -> dict[int, list[str]]:
    """For each axis the other words that have the same code there: of the same row (0), of the same column (1), ...

    They come in the order of their ids, which is that of descending frequency.

    Raises:
        ValueError: If the vocabulary does not have the word, with words spelled alike.
    """
    _check_words(allocation, words)
    if word not in words:
        alike = similar_words(words, word)
        hint = f"; words spelled alike: {', '.join(map(repr, alike))}" if alike else ""
        raise ValueError(f"the vocabulary does not have the word {word!r}{hint}")
    number = words.index(word)
    same = allocation.codes == allocation.codes[number]
    same[number] = False
    return {axis: [words[other] for other in same[:, axis].nonzero()[:, 0]] for axis in range(same.shape[1])}


def similar_words(words: Sequence[str], word: str, limit: int = 3) -> list[str]:
    """The words spelled most like ``word``, capitals aside, none that has little in common with it."""
    # Lengths that differ more are never near enough; to leave them out spares most of a large vocabulary.
    lowered: dict[str, str] = {}
    for other in words:
        if abs(len(other) - len(word)) <= 2:
            lowered.setdefault(other.lower(), other)
    return [lowered[found] for found in difflib.get_close_matches(word.lower(), lowered, limit)]


def moves(
    before: Int[Tensor, "V k"], after: Int[Tensor, "V k"], words: Sequence[str]
) -> dict[tuple[int, int], list[str]]:
    """Words whose codes differ, grouped by old and new row, the largest group first."""
    if not len(before) == len(after) == len(words):
        raise ValueError(f"tables of {len(before)} and {len(after)} words, and {len(words)} words: compare alike ones")
    groups: dict[tuple[int, int], list[str]] = {}
    for word in (before != after).any(-1).nonzero()[:, 0].tolist():
        groups.setdefault((int(before[word, 0]), int(after[word, 0])), []).append(words[word])
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def format_moves(groups: dict[tuple[int, int], list[str]], limit: int = 10) -> str:
    """``moves`` as lines: from row, to row, how many, which."""
    lines = []
    for (old, new), moved in groups.items():
        where = f"within row {old}" if old == new else f"row {old} -> {new}"
        rest = f" and {len(moved) - limit} more" if len(moved) > limit else ""
        lines.append(f"{where}: {len(moved)} words: {' '.join(moved[:limit])}{rest}")
    return "\n".join(lines)


def _check_words(allocation: WordAllocation, words: Sequence[str]) -> None:
    if len(words) != allocation.num_words:
        raise ValueError(f"{len(words)} words for a table of {allocation.num_words}; give every word of the vocabulary")
