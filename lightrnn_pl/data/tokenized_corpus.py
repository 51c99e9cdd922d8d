"""A corpus of raw text, whose lines are tokenized while they are read."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from typing_extensions import override

from lightrnn_pl.data.corpus import Corpus, content_hash
from lightrnn_pl.tokenization import tokenizer_named


class TokenizedCorpus(Corpus):
    """The lines of another corpus, split into words by a tokenizer and joined with spaces.

    Args:
        corpus: The raw text.
        tokenizer: The name of the tokenizer; see ``tokenization``.
    """

    def __init__(self, corpus: Corpus, tokenizer: str) -> None:
        self._corpus, self._name, self._tokenize = corpus, tokenizer, tokenizer_named(tokenizer)

    @override
    def has(self, split: str) -> bool:
        return self._corpus.has(split)

    @override
    def check(self) -> None:
        self._corpus.check()

    @override
    def fingerprint(self, split: str) -> str:
        return content_hash(["tokenizer", self._name, self._corpus.fingerprint(split)])

    @override
    def num_bytes(self, split: str) -> int | None:
        return self._corpus.num_bytes(split)

    @override
    def location(self) -> str | None:
        return self._corpus.location()

    @override
    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        for texts in self._corpus.texts(split):
            yield pa.array([" ".join(self._tokenize(text or "")) for text in texts.to_pylist()], pa.string())
