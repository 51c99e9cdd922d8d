"""Scoring lines with an n-gram model from an ARPA file, with the words of the file as the vocabulary."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lightrnn_pl.inference.scoring import LineScorer
from lightrnn_pl.ngrams.arpa import open_text, read_arpa, vocabulary_of
from lightrnn_pl.ngrams.members import KENLM_MAGIC, Member, NgramMember
from lightrnn_pl.tokenization import Tokenizer
from lightrnn_pl.vocabulary import Vocabulary

_ARPA_START = b"\\data\\"


class NgramLineScorer(LineScorer):
    """Scores lines with an n-gram model.

    Args:
        member: The model.
        vocabulary: The vocabulary of ``member``.
        tokenize: Splits a line into words.
    """

    def __init__(self, member: Member, vocabulary: Vocabulary, tokenize: Tokenizer = str.split) -> None:
        super().__init__(vocabulary, tokenize)
        self._member = member

    @override
    def score_ids(self, texts: Sequence[NDArray[np.int32]]) -> list[list[float]]:
        if self.vocabulary.end_id is None:  # the context is not reset between texts that are scored together
            return [self._member.log_probabilities(ids[1:]).tolist() if len(ids) > 1 else [] for ids in texts]
        if not texts:
            return []
        scores = self._member.log_probabilities(np.concatenate([ids[1:] for ids in texts]))
        return [part.tolist() for part in np.split(scores, np.cumsum([len(ids) - 1 for ids in texts])[:-1])]


def is_ngram_file(path: str | Path) -> bool:
    """Whether ``path`` is an ARPA file, which may be compressed with gzip, or a binary file of KenLM."""
    if not Path(path).is_file():
        return False
    try:
        with open_text(path) as file:
            start = file.read(len(KENLM_MAGIC))
    except (OSError, EOFError, zlib.error):
        return False
    return start == KENLM_MAGIC or start.lstrip().startswith(_ARPA_START)


def ngram_line_scorer(path: str | Path, tokenize: Tokenizer = str.split) -> NgramLineScorer:
    """Read an ARPA file whose words are the vocabulary.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or is a binary file of KenLM, which does not list its words.
    """
    with open_text(path) as file:
        if file.read(len(KENLM_MAGIC)) == KENLM_MAGIC:
            raise ValueError(f"{path} is a KenLM binary file, whose words are not listed; pass the ARPA file")
    model = read_arpa(path)
    vocabulary = vocabulary_of(model)
    return NgramLineScorer(NgramMember(model, vocabulary, Path(path).name), vocabulary, tokenize)
