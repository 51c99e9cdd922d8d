"""References, and the statistics of hypotheses from which BLEU and word error rate are computed.

Both metrics are functions of statistics that are summed over the sentences of a corpus.  BLEU uses the tokenizers of
sacrebleu and its default smoothing; word errors are counted by kaldialign.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

ORDER = 4
"""The longest n-grams of BLEU."""

Vector = NDArray[np.float64]


class References(ABC):
    """The references of all sentences, and a metric of hypotheses.

    Args:
        texts: The sets of references, each a list with one reference per sentence.

    Attributes:
        metric: The name of the metric in tables; in lowercase, its name in settings and reports.
        num_counts: Number of statistics of a hypothesis.
        sign: 1 if higher values are better, -1 if lower values are.
        counts_errors: Whether the first statistic is the number of errors, and the others do not depend on the
            hypothesis.  The best hypotheses of a corpus are then the best ones of each sentence.

    Raises:
        ValueError: If there are no references, or the sets differ in length.
    """

    metric: ClassVar[str]
    num_counts: ClassVar[int]
    sign: ClassVar[int]
    counts_errors: ClassVar[bool] = False

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        lengths = [len(lines) for lines in texts]
        if not lengths or len(set(lengths)) > 1:
            raise ValueError(f"all sets of references must have one line per sentence, got {lengths} lines")
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts[0])

    @abstractmethod
    def counts(self, sentence: int, text: str) -> list[int]:
        """The statistics of a hypothesis of a sentence.

        Raises:
            ValueError: If the sentence has no reference.
        """

    @staticmethod
    @abstractmethod
    def value(counts: NDArray[np.int64]) -> Vector:
        """The metric in percent from summed statistics, (..., num_counts) -> (...)."""

    @classmethod
    def quality(cls, counts: NDArray[np.int64]) -> Vector:
        """The metric, negated if lower values are better."""
        return cls.sign * cls.value(counts)

    def _check(self, sentence: int) -> None:
        if sentence >= len(self):
            raise ValueError(
                f"sentence {sentence} of the list has no reference; there are {len(self)} references (sentences are "
                "numbered from 0)"
            )


class BleuReferences(References):
    """BLEU.  Its statistics are the lengths of hypothesis and reference, the matching n-grams, and the n-grams.

    Args:
        texts: The sets of references.
        tokenize: Name of a sacrebleu tokenizer; ``none`` splits at whitespace.
        lowercase: Whether to ignore case.

    Raises:
        ValueError: If the references are invalid, sacrebleu is not installed, or it does not have the tokenizer.
    """

    metric, num_counts, sign = "BLEU", 2 + 2 * ORDER, 1

    def __init__(self, texts: Sequence[Sequence[str]], tokenize: str = "none", lowercase: bool = False) -> None:
        super().__init__(texts)
        try:
            from sacrebleu.metrics import BLEU
        except ModuleNotFoundError:
            raise ValueError("BLEU requires sacrebleu: pip install 'lightrnn_pl[rescore]'") from None
        if tokenize not in BLEU.TOKENIZERS:
            raise ValueError(
                f"tokenize={tokenize} is not a sacrebleu tokenizer; use one of {', '.join(BLEU.TOKENIZERS)}"
            )
        self._tokenize: Any = BLEU(tokenize=tokenize).tokenizer
        self._lowercase = lowercase
        self._sentence = -1
        self._ngrams: Counter[tuple[str, ...]] = Counter()
        self._lengths: list[int] = []

    @override
    def counts(self, sentence: int, text: str) -> list[int]:
        if sentence != self._sentence:
            self._prepare(sentence)
        ngrams, length = self._split(text)
        # The reference closest in length; if two are equally close, the shorter one.
        reference = min(self._lengths, key=lambda other: (abs(other - length), other))
        correct, total = [0] * ORDER, [0] * ORDER
        for ngram, count in ngrams.items():
            total[len(ngram) - 1] += count
            correct[len(ngram) - 1] += min(count, self._ngrams.get(ngram, 0))
        return [length, reference, *correct, *total]

    @staticmethod
    @override
    def value(counts: NDArray[np.int64]) -> Vector:
        values = np.asarray(counts, dtype=np.float64)
        length, reference = values[..., 0], values[..., 1]
        correct, total = values[..., 2 : 2 + ORDER], values[..., 2 + ORDER :]
        usable = correct.any(-1) & (total > 0).all(-1)
        halvings = np.cumsum(correct == 0, axis=-1)
        matched = np.where(correct == 0, 0.5**halvings, correct)
        mean_log = np.log(matched / np.where(total > 0, total, 1)).mean(-1)
        brevity = np.minimum(0.0, 1 - reference / np.where(length > 0, length, 1))
        return np.where(usable, 100 * np.exp(mean_log + brevity), 0.0)

    def _prepare(self, sentence: int) -> None:
        self._check(sentence)
        self._ngrams, self._lengths = Counter(), []
        for lines in self.texts:
            ngrams, length = self._split(lines[sentence])
            self._ngrams |= ngrams
            self._lengths.append(length)
        self._sentence = sentence

    def _split(self, text: str) -> tuple[Counter[tuple[str, ...]], int]:
        from sacrebleu.metrics.helpers import extract_all_word_ngrams

        text = text.lower() if self._lowercase else text
        return extract_all_word_ngrams(self._tokenize(text.rstrip()), 1, ORDER)


class WerReferences(References):
    """Word error rate.  Its statistics are the errors (insertions, deletions, substitutions) and the reference words.

    Args:
        texts: One set of references.
        lowercase: Whether to ignore case.

    Raises:
        ValueError: If there is not exactly one set of references, or kaldialign is not installed.
    """

    metric, num_counts, sign, counts_errors = "WER", 2, -1, True

    def __init__(self, texts: Sequence[Sequence[str]], lowercase: bool = False) -> None:
        super().__init__(texts)
        if len(texts) > 1:
            raise ValueError(f"metric=wer requires one reference per sentence, got {len(texts)} sets; pass one file")
        try:
            from kaldialign import edit_distance
        except ModuleNotFoundError:
            raise ValueError("word error rate requires kaldialign: pip install 'lightrnn_pl[rescore]'") from None
        self._edit_distance: Any = edit_distance
        self._lowercase = lowercase

    @override
    def counts(self, sentence: int, text: str) -> list[int]:
        self._check(sentence)
        reference = self._split(self.texts[0][sentence])
        return [self._edit_distance(reference, self._split(text))["total"], len(reference)]

    @staticmethod
    @override
    def value(counts: NDArray[np.int64]) -> Vector:
        values = np.asarray(counts, dtype=np.float64)
        return 100 * values[..., 0] / np.maximum(values[..., 1], 1)

    def _split(self, text: str) -> list[str]:
        return (text.lower() if self._lowercase else text).split()
