"""Reranking of n-best lists with language models (Slim Embedding, "Machine Translation Reranking").

This module adds language model features to the hypotheses of a list, collects the data for tuning, and selects
hypotheses.  Lists are processed sentence by sentence with bounded memory.  BLEU statistics use the tokenizers of
sacrebleu.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.inference.scoring import score_stream
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.rescoring.feature_layout import FeatureLayout
from lightrnn_pl.rescoring.nbest_lists import Hypothesis
from lightrnn_pl.rescoring.tuning import NUM_COUNTS, ORDER, Candidates, Vector
from lightrnn_pl.vocabulary import Vocabulary

Feature = Callable[[Sequence[str]], Sequence[float]]
"""Maps texts to one number per text."""


class LanguageModelFeature:
    """The natural-log probability of each text under a language model, including its end marker.

    The state is reset before each text.  The language models of Moses use natural logarithms as well.

    Args:
        model: The language model.
        vocabulary: The vocabulary of the model.
        batch_size: Number of texts scored at a time.

    Attributes:
        num_words: Number of words scored so far, without end markers.
        num_unknown: Number of these words scored as the unknown word.
    """

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary, batch_size: int = 64) -> None:
        self.model, self.vocabulary, self.batch_size = model, vocabulary, batch_size
        self.num_words = self.num_unknown = 0

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """The log-probability of each text."""
        scores = []
        for line in score_stream(self.model, self.vocabulary, texts, self.batch_size, max(1, len(texts))):
            self.num_words += len(line.words) - (self.vocabulary.end is not None)
            self.num_unknown += line.known.count(False)
            scores.append(line.log_probability)
        return scores


def count_words(texts: Sequence[str]) -> list[float]:
    """The number of words of each text, a feature that offsets the preference of language models for short texts."""
    return [float(len(text.split())) for text in texts]


def add_features(
    groups: Iterable[list[Hypothesis]], features: Mapping[str, Feature], buffer: int = 4096
) -> Iterator[list[Hypothesis]]:
    """Add features to hypotheses.  Texts that occur several times in a buffer are scored once.

    Args:
        groups: The hypotheses of each sentence.
        features: The features by their names in the list.
        buffer: Minimum number of hypotheses scored together, so that texts of similar length can share a batch.

    Yields:
        The hypotheses of each sentence, with the features added.

    Raises:
        ValueError: If the list already has a feature of the same name.
    """
    buffered: list[list[Hypothesis]] = []
    for group in groups:
        buffered.append(group)
        if sum(map(len, buffered)) >= buffer:
            yield from _with_features(buffered, features)
            buffered = []
    yield from _with_features(buffered, features)


def _with_features(groups: list[list[Hypothesis]], features: Mapping[str, Feature]) -> list[list[Hypothesis]]:
    texts = list(dict.fromkeys(hypothesis.text for group in groups for hypothesis in group))
    for name, feature in features.items():
        values = dict(zip(texts, feature(texts), strict=True))
        for group in groups:
            for hypothesis in group:
                if name in hypothesis.features:
                    raise ValueError(f"the list already has a feature {name}; choose another name with feature=...")
                hypothesis.add_feature(name, values[hypothesis.text])
    return groups


class References:
    """Reference translations, and the BLEU statistics of hypotheses.

    Args:
        texts: The sets of references, each a list with one reference per sentence.
        tokenize: Name of a sacrebleu tokenizer; ``none`` splits at whitespace.
        lowercase: Whether to ignore case.

    Raises:
        ValueError: If there are no references, the sets differ in length, sacrebleu is not installed, or it does not
            have the tokenizer.
    """

    def __init__(self, texts: Sequence[Sequence[str]], tokenize: str = "none", lowercase: bool = False) -> None:
        try:
            from sacrebleu.metrics import BLEU
        except ModuleNotFoundError:
            raise ValueError("BLEU requires sacrebleu: pip install 'lightrnn_pl[rescore]'") from None
        lengths = [len(lines) for lines in texts]
        if not lengths or len(set(lengths)) > 1:
            raise ValueError(f"all sets of references must have one line per sentence, got {lengths} lines")
        if tokenize not in BLEU.TOKENIZERS:
            raise ValueError(
                f"tokenize={tokenize} is not a sacrebleu tokenizer; use one of {', '.join(BLEU.TOKENIZERS)}"
            )
        self.texts = texts
        self._tokenize: Any = BLEU(tokenize=tokenize).tokenizer
        self._lowercase = lowercase
        self._sentence = -1
        self._ngrams: Counter[tuple[str, ...]] = Counter()
        self._lengths: list[int] = []

    def __len__(self) -> int:
        return len(self.texts[0])

    def counts(self, sentence: int, text: str) -> list[int]:
        """The BLEU statistics of a text as translation of a sentence, in the order of ``tuning.NUM_COUNTS``.

        Raises:
            ValueError: If the sentence has no reference.
        """
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

    def _prepare(self, sentence: int) -> None:
        if sentence >= len(self):
            raise ValueError(
                f"sentence {sentence} of the list has no reference; there are {len(self)} references (sentences are "
                "numbered from 0)"
            )
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


class TuningSet:
    """The data of a list for tuning.  Features and BLEU statistics are stored on disk.

    Args:
        layout: The columns of all features.
        references: The references of all sentences.  Sentences without hypotheses count as empty translations.

    Attributes:
        num_missing: Number of sentences without hypotheses so far.
    """

    def __init__(self, layout: FeatureLayout, references: References) -> None:
        self.layout, self._references = layout, references
        self._features, self._counts = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._sizes: list[int] = []
        self._missing = np.zeros(NUM_COUNTS, dtype=np.int64)
        self.num_missing = 0
        self._next = 0
        self._gram = np.zeros((layout.num_columns,) * 2)
        self._moment = np.zeros(layout.num_columns)
        self._squares = 0.0

    def add(self, group: Sequence[Hypothesis]) -> None:
        """Append the hypotheses of the next sentence."""
        sentence = group[0].sentence
        self._skip_to(sentence)
        self._next = sentence + 1
        counts_by_text: dict[str, list[int]] = {}
        for hypothesis in group:
            if hypothesis.text not in counts_by_text:
                counts_by_text[hypothesis.text] = self._references.counts(sentence, hypothesis.text)
        matrix = self.layout.matrix([hypothesis.features for hypothesis in group])
        scores = np.array([hypothesis.score for hypothesis in group])
        self._gram += matrix.T @ matrix
        self._moment += matrix.T @ scores
        self._squares += float(scores @ scores)
        self._features.write(matrix.astype(np.float32).tobytes())
        counts = np.array([counts_by_text[hypothesis.text] for hypothesis in group], dtype=np.int32)
        self._counts.write(counts.tobytes())
        self._sizes.append(len(group))

    def candidates(self) -> Candidates:
        """The candidates for ``tune``.

        Raises:
            ValueError: If the list contains no hypothesis.
        """
        if not self._sizes:
            raise ValueError("the list for tuning contains no valid hypothesis")
        self._skip_to(len(self._references))
        self._next = len(self._references)
        total = sum(self._sizes)
        for file in (self._features, self._counts):
            file.flush()
        features = np.memmap(self._features, np.float32, "r", shape=(total, self.layout.num_columns))
        counts = np.memmap(self._counts, np.int32, "r", shape=(total, NUM_COUNTS))
        starts = np.cumsum([0, *self._sizes[:-1]])
        return Candidates(features, counts, starts, self._missing)

    def fit_scores(self) -> tuple[Vector, float]:
        """Fit weights to the scores of the list by least squares.

        The scores of a list are weighted sums of its features, so the error is close to zero unless the list omits
        features.

        Returns:
            The weights, (D,), and the norm of the residuals relative to the norm of the scores.
        """
        units = np.sqrt(np.diag(self._gram))
        units = np.where(units > 0, units, 1.0)
        gram = self._gram / units / units[:, None]
        weights = np.linalg.lstsq(gram, self._moment / units, rcond=1e-10)[0] / units
        residual = self._squares - 2 * float(weights @ self._moment) + float(weights @ self._gram @ weights)
        return weights, float(np.sqrt(max(0.0, residual) / self._squares)) if self._squares else 0.0

    def _skip_to(self, sentence: int) -> None:
        for missing in range(self._next, sentence):
            self._missing += np.array(self._references.counts(missing, ""))
            self.num_missing += 1


class Reranker:
    """Selects one hypothesis per sentence, and sums the BLEU statistics of the selected hypotheses.

    Args:
        layout: The columns of ``weights``.
        weights: The weights of the features, (D,); None to use the scores of the list.

    Attributes:
        counts: The summed BLEU statistics, (10,).
    """

    def __init__(self, layout: FeatureLayout, weights: Vector | None = None) -> None:
        self.layout, self.weights = layout, weights
        self.counts: NDArray[np.int64] = np.zeros(NUM_COUNTS, dtype=np.int64)

    def scores(self, group: Sequence[Hypothesis]) -> Vector:
        """The score of each hypothesis."""
        if self.weights is None:
            return np.array([hypothesis.score for hypothesis in group])
        return self.layout.matrix([hypothesis.features for hypothesis in group]) @ self.weights

    def choose(self, group: Sequence[Hypothesis], references: References | None = None) -> Hypothesis:
        """The first hypothesis with the highest score.  If there are references, its BLEU statistics are added."""
        chosen = group[int(np.argmax(self.scores(group)))]
        if references is not None:
            self.add(references.counts(chosen.sentence, chosen.text))
        return chosen

    def add(self, counts: Sequence[int]) -> None:
        """Add the BLEU statistics of a sentence."""
        self.counts += np.asarray(counts, dtype=np.int64)
