"""Word classes for outputs that predict the class of a word before the word.

Each strategy has a file in ``conf/model/output/classes``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.allocation.allocation_file import read_table
from lightrnn_pl.allocation.initial.clustering import balanced_clusters
from lightrnn_pl.allocation.initial.cooccurrence_vectors import cooccurrence_vectors
from lightrnn_pl.allocation.initial.progress_bar import progress_bar
from lightrnn_pl.checks import check_count, check_number, check_seed
from lightrnn_pl.vocabulary import Vocabulary


class MissingSourceError(ValueError):
    """The classes cannot be created because a file or the training text is missing.

    A model that is loaded does not need them.
    """


class WordClasses(ABC):
    """Abstract: divides a vocabulary into classes."""

    @abstractmethod
    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        """The class of each word; every class from 0 to the largest has at least one word.

        Args:
            vocabulary: The words and their counts.
            num_classes: Number of classes; None means the default of the strategy.
            tokens: Word ids of the training text, (N,) or in blocks, for strategies that are based on co-occurrence;
                None if the text is not available.

        Raises:
            ValueError: If the number of classes is not possible.
            MissingSourceError: If the strategy needs a file or a text that is missing.
        """


class SavedClasses(WordClasses):
    """The classes that are saved with the weights, so nothing is computed or read."""

    @override
    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        raise MissingSourceError("the classes have not been loaded")


class RandomClasses(WordClasses):
    """Random classes of equal size (Kim et al. 2016), by default ceil(sqrt(V)).

    Args:
        seed: Seed of the permutation, which is independent of the global random generators.
    """

    def __init__(self, seed: int = 0) -> None:
        check_seed("model.output.classes.seed", seed)
        self.seed = seed

    @override
    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(vocabulary), generator=generator) % _class_count(len(vocabulary), num_classes)


class FrequencyClasses(WordClasses):
    """Words in the order of descending frequency, divided into classes of equal weight (Mikolov et al. 2011).

    With ``power`` = 1, the weight of a class is its share of the text, so the first classes are single frequent words
    and the last ones contain very many rare words.  A word that weighs more than a class has a class of its own, and
    the remaining weight is divided among the other classes.

    Args:
        power: The weight of a word is its count to this power: 1 as in the paper, 0.5 as in later releases of its
            toolkit, 0 for classes of equal size.
    """

    def __init__(self, power: float = 1.0) -> None:
        check_number("model.output.classes.power", power, at_least=0)
        self.power = power

    @override
    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        num_words = len(vocabulary)
        num_classes = _class_count(num_words, num_classes)
        order = np.argsort(-vocabulary.counts, kind="stable")
        totals = np.cumsum(np.maximum(vocabulary.counts[order], 1).astype(np.float64) ** self.power)
        classes = np.empty(num_words, dtype=np.int64)
        start, before = 0, 0.0
        for number in range(num_classes):
            remaining = num_classes - number
            # Slightly less than an equal share, so that rounding does not add another word.
            goal = before + (totals[-1] - before) / remaining * (1 - 1e-9)
            stop = int(np.searchsorted(totals, goal)) + 1
            # Each remaining class needs at least one word, and the last class gets all remaining words.
            stop = num_words if remaining == 1 else min(max(stop, start + 1), num_words - remaining + 1)
            classes[order[start:stop]] = number
            start, before = stop, float(totals[stop - 1])
        return torch.from_numpy(classes)


class ClusteredClasses(WordClasses):
    """Words that occur in similar contexts: balanced clusters of co-occurrence vectors, by default ceil(sqrt(V)).

    The sizes of the classes differ by at most one word, so that no class is slow.

    Args:
        dimension: Dimension of the co-occurrence vectors.
        iterations: Number of iterations of the clustering.
        num_contexts: Only the most frequent words are counted as contexts; this is their number.
        seed: Seed of all random numbers.
    """

    def __init__(self, dimension: int = 64, iterations: int = 12, num_contexts: int = 10_000, seed: int = 0) -> None:
        check_count("model.output.classes.dimension", dimension)
        check_count("model.output.classes.iterations", iterations)
        check_count("model.output.classes.num_contexts", num_contexts)
        check_seed("model.output.classes.seed", seed)
        self.dimension = dimension
        self.iterations = iterations
        self.num_contexts = num_contexts
        self.seed = seed

    @override
    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        num_words = len(vocabulary)
        num_classes = _class_count(num_words, num_classes)
        if tokens is None:
            raise MissingSourceError(
                "model/output/classes=clusters needs the training text, which is not available; use "
                "model/output/classes=frequency"
            )
        capacities = np.full(num_classes, num_words // num_classes)
        capacities[: num_words % num_classes] += 1
        vectors = cooccurrence_vectors(tokens, num_words, self.dimension, self.num_contexts, self.seed)
        with progress_bar("clustering words into classes", self.iterations * num_words) as advance:
            clusters = balanced_clusters(vectors, vocabulary.counts, capacities, self.iterations, self.seed, advance)
        return torch.from_numpy(clusters.astype(np.int64))


class ClassesFromFile(WordClasses):
    """Uses the rows of a word table as classes, such as those of a trained LightRNN or of another program.

    Args:
        path: A .tsv, .csv or .parquet file with the columns word, row and column, with an entry for every word of the
            vocabulary; see :mod:`~lightrnn_pl.allocation.allocation_file`.  The columns only need to be distinct
            within a row.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @override
    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        """The class of each word; rows without words are skipped.

        Raises:
            ValueError: If the file does not match the vocabulary, or has another number of rows than ``num_classes``.
            MissingSourceError: If the file does not exist.
        """
        if not self.path.is_file():
            raise MissingSourceError(
                f"word table {self.path} does not exist; set model.output.classes.path to a .tsv, .csv or .parquet file"
            )
        codes, _ = read_table(self.path, vocabulary.words)
        rows, classes = codes[:, 0].unique(return_inverse=True)
        if num_classes not in (None, len(rows)):
            raise ValueError(
                f"{self.path} has {len(rows)} rows with words, but model.output.num_classes={num_classes}; set it to "
                "null for one class per row"
            )
        return classes


def _class_count(num_words: int, num_classes: int | None) -> int:
    """The number of classes, by default ceil(sqrt(V)).

    Raises:
        ValueError: If it is not between 1 and the number of words.
    """
    if num_classes is None:
        return math.isqrt(num_words - 1) + 1
    check_count("model.output.num_classes", num_classes)
    if num_classes > num_words:
        raise ValueError(
            f"model.output.num_classes={num_classes} is larger than the vocabulary size {num_words}; use a smaller "
            "number, or null for its square root"
        )
    return num_classes
