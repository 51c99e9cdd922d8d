"""The tokens of an acoustic model, as sherpa-onnx reads them (``tokens.txt``), and the words that they stand for.

A line is a symbol and an id.  In symbols of subword models, U+2581 marks the start of a word.  Token 0 is the blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.files import read_text
from lightrnn_pl.vocabulary import Vocabulary

BLANK = "<blk>"
_WORD_START = "\u2581"


class TokenWords(NamedTuple):
    """The word of each token.

    Attributes:
        words: The id of the word of each token, (tokens,).  The blank stands for the context word, because it is never
            scored.
        known: False for tokens that are scored as the unknown word, and for the blank, (tokens,).
    """

    words: NDArray[np.int64]
    known: NDArray[np.bool_]


def read_tokens(path: str | Path) -> list[str]:
    """The symbols of ``tokens.txt``, in the order of their ids.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is not a symbol and an id, or the ids are not 0, 1, 2, ...
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"tokens={path} is not a file; pass the tokens.txt of the acoustic model")
    symbols: dict[int, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        parts = line.split()
        if not 1 <= len(parts) <= 2 or not (parts[-1].isascii() and parts[-1].isdigit()):
            raise ValueError(f"tokens={path}, line {number}: expected a symbol and an id, found {line[:80]!r}")
        symbols[int(parts[-1])] = parts[0] if len(parts) == 2 else " "
    if not symbols or sorted(symbols) != list(range(len(symbols))):
        missing = next(number for number in range(len(symbols) + 1) if number not in symbols)
        raise ValueError(f"tokens={path} must contain the ids 0, 1, 2, ... without gaps, but {missing} is missing")
    return [symbols[number] for number in range(len(symbols))]


def vocabulary_tokens(vocabulary: Vocabulary) -> list[str]:
    """One token per word, after the blank, for acoustic models that predict whole words."""
    markers = {vocabulary.unknown, vocabulary.begin, vocabulary.end}
    if any(word.startswith(_WORD_START) for word in vocabulary.words):  # subword units that are trained like words
        return [BLANK, *vocabulary.words]
    return [BLANK, *(word if word in markers else _WORD_START + word for word in vocabulary.words)]


def words_of_tokens(symbols: Sequence[str], vocabulary: Vocabulary) -> TokenWords:
    """The word of each symbol: the symbol itself, or without the mark of the start of a word.

    Raises:
        ValueError: If no symbol is in the vocabulary, or one is not and there is no unknown word.
    """
    words = [symbol if symbol in vocabulary else symbol.removeprefix(_WORD_START) for symbol in symbols]
    known = np.array([number > 0 and word in vocabulary for number, word in enumerate(words)])
    if not known.any():
        raise ValueError(
            f"none of the {len(symbols)} tokens, such as {symbols[-1]!r}, is in the vocabulary of the model; train it "
            "on text that is split into the tokens of the acoustic model"
        )
    ids = [vocabulary.context_id, *(vocabulary.id(word) for word in words[1:])]
    return TokenWords(np.array(ids, dtype=np.int64), known)
