"""Reranking of n-best lists with language models (Slim Embedding, "Machine Translation Reranking").

This module adds language model features to the hypotheses of a list, collects the data for tuning, and selects
hypotheses.  Lists are processed sentence by sentence with bounded memory.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.inference.scoring import LineScorer, ScoredLine
from lightrnn_pl.rescoring.feature_layout import FeatureLayout
from lightrnn_pl.rescoring.nbest_lists import Hypothesis
from lightrnn_pl.rescoring.references import References, Vector
from lightrnn_pl.rescoring.tuning import Candidates
from lightrnn_pl.vocabulary import Vocabulary

Feature = Callable[[Sequence[str]], Sequence[float]]
"""Maps texts to one number per text."""


class LanguageModelFeature:
    """The natural-log probability of each text under a language model, including its end marker.

    Each text is scored on its own.  The language models of Moses use natural logarithms as well.

    Args:
        scorer: The language model.
        unknown_penalty: Subtracted from the log-probability of a text for each of its unknown words.

    Attributes:
        num_words: Number of words scored so far, without end markers.
        num_unknown: Number of these words scored as the unknown word.
    """

    def __init__(self, scorer: LineScorer, unknown_penalty: float = 0.0) -> None:
        self.scorer, self.vocabulary, self.unknown_penalty = scorer, scorer.vocabulary, unknown_penalty
        self.num_words = self.num_unknown = 0

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """The log-probability of each text, minus the penalties."""
        return [line.penalized(self.unknown_penalty).log_probability for line in self._score(texts)]

    def log_probabilities(self, texts: Sequence[str]) -> list[float]:
        """The log-probability of each text under the model, without penalties."""
        return [line.log_probability for line in self._score(texts)]

    def _score(self, texts: Sequence[str]) -> Iterator[ScoredLine]:
        for line in self.scorer.score(texts, max(1, len(texts))):
            self.num_words += len(line.words) - (self.vocabulary.end is not None)
            self.num_unknown += line.known.count(False)
            yield line


class UnknownWordCount:
    """The number of words of each text that are not in a vocabulary.

    The probability of the unknown word is that of all words outside the vocabulary together, so a language model can
    prefer a text with an unknown word.  The tuned weight of this feature corrects for that.

    Args:
        vocabulary: The vocabulary of a language model.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """The number of unknown words of each text."""
        unknown = self._vocabulary.unknown
        return [float(sum(w == unknown or w not in self._vocabulary for w in text.split())) for text in texts]


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
        ValueError: If the list already has a feature of the same name, or the value of a feature is not finite.
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
        for text, value in values.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"{name} is {value} for {text!r}; estimate the model with an unknown word that has a probability"
                )
        for group in groups:
            for hypothesis in group:
                if name in hypothesis.features:
                    raise ValueError(f"the list already has a feature {name}; choose another name with feature=...")
                hypothesis.add_feature(name, values[hypothesis.text])
    return groups


class TuningSet:
    """The data of a list for tuning.  Features and statistics of the metric are stored on disk.

    Args:
        layout: The columns of all features.
        references: The references of all sentences.  Sentences without hypotheses count as empty.

    Attributes:
        num_missing: Number of sentences without hypotheses so far.
    """

    def __init__(self, layout: FeatureLayout, references: References) -> None:
        self.layout, self._references = layout, references
        self._features, self._counts = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._sizes: list[int] = []
        self._missing = np.zeros(references.num_counts, dtype=np.int64)
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
        counts = np.memmap(self._counts, np.int32, "r", shape=(total, self._references.num_counts))
        starts = np.cumsum([0, *self._sizes[:-1]])
        return Candidates(features, counts, starts, self._missing, self._references.quality)

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
    """Selects one hypothesis per sentence, and sums the statistics of the selected hypotheses.

    Args:
        layout: The columns of ``weights``.
        weights: The weights of the features, (D,); None to use the scores of the list.

    Attributes:
        counts: The summed statistics, in the order of the references that computed them; 0 before the first sentence.
    """

    def __init__(self, layout: FeatureLayout, weights: Vector | None = None) -> None:
        self.layout, self.weights = layout, weights
        self.counts: NDArray[np.int64] = np.zeros(1, dtype=np.int64)

    def scores(self, group: Sequence[Hypothesis]) -> Vector:
        """The score of each hypothesis."""
        if self.weights is None:
            return np.array([hypothesis.score for hypothesis in group])
        return self.layout.matrix([hypothesis.features for hypothesis in group]) @ self.weights

    def choose(self, group: Sequence[Hypothesis], references: References | None = None) -> Hypothesis:
        """The first hypothesis with the highest score.  If there are references, its statistics are added."""
        chosen = group[int(np.argmax(self.scores(group)))]
        if references is not None:
            self.add(references.counts(chosen.sentence, chosen.text))
        return chosen

    def add(self, counts: Sequence[int]) -> None:
        """Add the statistics of a sentence."""
        self.counts = self.counts + np.asarray(counts, dtype=np.int64)
