"""Tokenizers: how a raw text is split into words.

``whitespace`` is ``str.split``, for text that is already tokenized.

``treebank`` follows the Penn Treebank (https://www.cis.upenn.edu/~treebank/tokenization.html), with the regular
expressions of NLTK: *don't* is read as *do n't*, *the firm's* as *the firm 's*, and punctuation marks are words.

``ptb`` reads text as in the version of the Penn Treebank that is commonly used to compare language models (Mikolov et
al. 2010, "Recurrent neural network based language model"): the tokens of ``treebank`` in lower case, *N* for numbers
and percent signs, and no punctuation marks.

Both expect one sentence per text: only its final period is separated from its word, because most others belong to
abbreviations.  Text that is already tokenized in the same way is hardly changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from lightrnn_pl.checks import check_choice

Tokenizer = Callable[[str], list[str]]

TOKENIZERS = ("whitespace", "treebank", "ptb")

_ASCII_QUOTES = str.maketrans("‘’“”", "''\"\"")
_PLACEHOLDER = "\ue000"  # for private use, so that it is neither a letter nor punctuation
_PROTECTED = re.compile(rf"<\w+>|(?<=\w)&(?=\w)|(?<=[A-Za-z])\$|(?<!\w)'(?=\d0s\b)|{_PLACEHOLDER}")
"""What NLTK would split but PTB does not: markers such as <unk>, names such as AT&T, US$, and the '80s."""

_CURRENCY = re.compile(r"(?<=[A-Za-z]\$)(?=\d)")
"""The end of a currency such as US$ before an amount."""

_DIGITS, _INSIDE_NUMBERS = "0123456789", "+-.,:/\\"
_KEPT_SYMBOLS = ("$", "#", "&")
_PERIODS = {word: f"{word}." for word in ("mr", "mrs", "ms", "messrs", "u.s", "u.k")}
"""Words that always have a period in PTB, even at the end of a sentence."""


def tokenizer_named(name: str, key: str = "tokenizer") -> Tokenizer:
    """The tokenizer called ``name``, one of ``TOKENIZERS``: a function from a text to its words.

    Args:
        name: Its name.
        key: The key of the configuration that contains the name, for error messages.

    Raises:
        ValueError: If there is no such tokenizer, or the package that it requires is not installed.
    """
    check_choice(key, name, TOKENIZERS)
    if name == "whitespace":
        return str.split
    try:
        _nltk_tokenizer()
    except ModuleNotFoundError:
        raise ValueError(
            f"{key}={name} requires nltk: pip install 'lightrnn_pl[tokenizer]'; {key}=whitespace requires no package"
        ) from None
    return split_ptb if name == "ptb" else split_treebank


def check_text(text: Any) -> None:
    """Check that a text is a string.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(text, str):
        raise ValueError(f"a text must be a string of words separated by whitespace, got {text!r}")


def split_treebank(text: str) -> list[str]:
    """The tokens of a sentence as in the Penn Treebank, except that brackets are not replaced.

    Typographic quotation marks and apostrophes are read as ASCII characters.
    """
    text = _CURRENCY.sub(" ", text.translate(_ASCII_QUOTES))
    protected = iter(_PROTECTED.findall(text))
    tokens = _nltk_tokenizer().tokenize(_PROTECTED.sub(_PLACEHOLDER, text))
    return re.sub(_PLACEHOLDER, lambda _: next(protected), " ".join(tokens)).split()


def split_ptb(text: str) -> list[str]:
    """The words of a sentence as in Mikolov's version of the Penn Treebank."""
    words: list[str] = []
    for piece in split_treebank(text):
        if piece in ("N", "%") or _is_number(piece):
            words.append("N")
        # A single apostrophe is either the possessive of a plural or a quotation mark.
        elif piece in _KEPT_SYMBOLS or (piece == "'" and words and words[-1][-1] in "sz>"):
            words.append(piece)
        elif any(map(str.isalnum, piece)):
            word = re.sub(r"(?<!\\)/", r"\\/", piece.lower())
            words.append(_PERIODS.get(word, word))
    return words


def _is_number(token: str) -> bool:
    return not token.strip(_DIGITS + _INSIDE_NUMBERS) and bool(token.strip(_INSIDE_NUMBERS))


@cache
def _nltk_tokenizer() -> Any:
    # The tokenizer of nltk.word_tokenize; unlike it, it needs no downloaded data.
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()
