"""Rescoring n-best lists with language models (Slim Embedding, "Machine Translation Reranking").

Adds features to the hypotheses of a list, gathers what tuning needs to know of it, and reranks it; always one sentence
after the other, a bounded number of hypotheses at a time.  Knows lists and BLEU's counts (tokenised by sacrebleu);
neither commands nor bundles.
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
from lightrnn_pl.rescoring.feature_layout import Layout
from lightrnn_pl.rescoring.nbest_lists import Hypothesis
from lightrnn_pl.rescoring.tuning import NUM_COUNTS, ORDER, Candidates, Vector
from lightrnn_pl.vocabulary import Vocabulary

Feature = Callable[[Sequence[str]], Sequence[float]]
"""From texts to a number each."""


class LanguageModelFeature:
    """The natural-log probability of each text, its end marker included, from a fresh state.

    Natural logarithms are also what Moses's own language models put into a list.

    Args:
        model: Scores the texts.
        vocabulary: The model's.
        batch_size: Texts scored at a time.

    Attributes:
        num_words: Words scored so far, end markers apart.
        num_unknown: Those of them that were read as the unknown word.
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
    """The number of words of each text, as a feature: a language model alone prefers what is short."""
    return [float(len(text.split())) for text in texts]


def add_features(
    groups: Iterable[list[Hypothesis]], features: Mapping[str, Feature], buffer: int = 4096
) -> Iterator[list[Hypothesis]]:
    """The same sentences with features added to their hypotheses; a text that occurs often is asked for once.

    Args:
        groups: The hypotheses of one sentence after the other.
        features: By the name that they get in the list.
        buffer: Hypotheses that are held at least, so that texts of similar length can be scored together.

    Raises:
        ValueError: If the list has a feature of such a name.
    """
    held: list[list[Hypothesis]] = []
    for group in groups:
        held.append(group)
        if sum(map(len, held)) >= buffer:
            yield from _with_features(held, features)
            held = []
    yield from _with_features(held, features)


def _with_features(held: list[list[Hypothesis]], features: Mapping[str, Feature]) -> list[list[Hypothesis]]:
    texts = list(dict.fromkeys(hypothesis.text for group in held for hypothesis in group))
    for name, feature in features.items():
        values = dict(zip(texts, feature(texts), strict=True))
        for group in held:
            for hypothesis in group:
                if name in hypothesis.features:
                    raise ValueError(f"the list already has a feature {name}; choose another name with feature=...")
                hypothesis.add_feature(name, values[hypothesis.text])
    return held


class References:
    """Reference translations, and BLEU's counts of hypotheses compared with them.

    Args:
        texts: One list a set of references, in the order of the sentences.
        tokenize: Name of a tokeniser of sacrebleu; ``none`` takes the words as they stand.
        lowercase: Hold everything against each other in lower case.

    Raises:
        ValueError: If the sets have not the same number of lines, there is none, sacrebleu has no such tokeniser or is
            not installed.
    """

    def __init__(self, texts: Sequence[Sequence[str]], tokenize: str = "none", lowercase: bool = False) -> None:
        try:
            from sacrebleu.metrics import BLEU
        except ModuleNotFoundError:
            raise ValueError("BLEU is counted by sacrebleu; install it: pip install 'lightrnn_pl[rescore]'") from None
        lengths = [len(lines) for lines in texts]
        if not lengths or len(set(lengths)) > 1:
            raise ValueError(f"sets of references need as many lines each, one a sentence; theirs have {lengths}")
        if tokenize not in BLEU.TOKENIZERS:
            raise ValueError(f"tokenize={tokenize} is none of sacrebleu's: {', '.join(BLEU.TOKENIZERS)}")
        self.texts = texts
        self._tokenize: Any = BLEU(tokenize=tokenize).tokenizer
        self._lowercase = lowercase
        self._sentence = -1
        self._ngrams: Counter[tuple[str, ...]] = Counter()
        self._lengths: list[int] = []

    def __len__(self) -> int:
        return len(self.texts[0])

    def counts(self, sentence: int, text: str) -> list[int]:
        """BLEU's counts of a text as the translation of a sentence, in the order that ``tuning`` describes.

        Raises:
            ValueError: If the sentence has no reference.
        """
        if sentence != self._sentence:
            self._prepare(sentence)
        ngrams, length = self._split(text)
        # Of references equally close in length the shorter counts.
        reference = min(self._lengths, key=lambda other: (abs(other - length), other))
        correct, total = [0] * ORDER, [0] * ORDER
        for ngram, count in ngrams.items():
            total[len(ngram) - 1] += count
            correct[len(ngram) - 1] += min(count, self._ngrams.get(ngram, 0))
        return [length, reference, *correct, *total]

    def _prepare(self, sentence: int) -> None:
        if sentence >= len(self):
            raise ValueError(f"sentence {sentence} of the list has no reference; there are {len(self)}, from 0")
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


class TuningList:
    """What tuning needs of a list: features and counts on disk, beside them only a number a sentence.

    Args:
        layout: The columns of the features, all of them.
        references: Of all sentences; those without a hypothesis count as translated by nothing.
    """

    def __init__(self, layout: Layout, references: References) -> None:
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
        known: dict[str, list[int]] = {}
        for hypothesis in group:
            if hypothesis.text not in known:
                known[hypothesis.text] = self._references.counts(sentence, hypothesis.text)
        matrix = self.layout.matrix([hypothesis.features for hypothesis in group])
        scores = np.array([hypothesis.score for hypothesis in group])
        self._gram += matrix.T @ matrix
        self._moment += matrix.T @ scores
        self._squares += float(scores @ scores)
        self._features.write(matrix.astype(np.float32).tobytes())
        self._counts.write(np.array([known[hypothesis.text] for hypothesis in group], dtype=np.int32).tobytes())
        self._sizes.append(len(group))

    def candidates(self) -> Candidates:
        """The list so far, for ``tune``.

        Raises:
            ValueError: If it holds no hypothesis.
        """
        if not self._sizes:
            raise ValueError("the list to tune on holds no hypothesis that can be read")
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
        """Weights that give back the list's own scores (least squares), and the share of their size that is missed.

        A list's scores are the weighted sum of its features, so that the share is nearly nothing, unless the list
        leaves features out.
        """
        units = np.sqrt(np.diag(self._gram))
        units = np.where(units > 0, units, 1.0)
        gram = self._gram / units / units[:, None]
        weights = np.linalg.lstsq(gram, self._moment / units, rcond=1e-10)[0] / units
        missed = self._squares - 2 * float(weights @ self._moment) + float(weights @ self._gram @ weights)
        return weights, float(np.sqrt(max(0.0, missed) / self._squares)) if self._squares else 0.0

    def _skip_to(self, sentence: int) -> None:
        for missing in range(self._next, sentence):
            self._missing += np.array(self._references.counts(missing, ""))
            self.num_missing += 1


class Chooser:
    """Choosing one hypothesis a sentence in one way, and BLEU's counts of what was chosen.

    Args:
        layout: The columns of ``weights``.
        weights: (D,); None for the list's own scores.
    """

    def __init__(self, layout: Layout, weights: Vector | None = None) -> None:
        self.layout, self.weights = layout, weights
        self.counts: NDArray[np.int64] = np.zeros(NUM_COUNTS, dtype=np.int64)

    def scores(self, group: Sequence[Hypothesis]) -> Vector:
        """The score of each hypothesis."""
        if self.weights is None:
            return np.array([hypothesis.score for hypothesis in group])
        return self.layout.matrix([hypothesis.features for hypothesis in group]) @ self.weights

    def choose(self, group: Sequence[Hypothesis], references: References | None = None) -> Hypothesis:
        """The hypothesis with the highest score, the first of equals; counted where there are references."""
        chosen = group[int(np.argmax(self.scores(group)))]
        if references is not None:
            self.add(references.counts(chosen.sentence, chosen.text))
        return chosen

    def add(self, counts: Sequence[int]) -> None:
        """Count what stands for a sentence."""
        self.counts += np.asarray(counts, dtype=np.int64)
