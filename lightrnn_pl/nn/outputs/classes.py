"""Which class each word belongs to, for outputs that predict a word's class before the word.

Each class here is one way, and a file in ``conf/model/output/classes``.  Knows words, counts and the training text,
nothing of a model's vectors.
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

from lightrnn_pl.allocation.allocation_file import read_table
from lightrnn_pl.allocation.initial.clustering import balanced_clusters
from lightrnn_pl.allocation.initial.cooccurrence_vectors import cooccurrence_vectors
from lightrnn_pl.checks import check_count, check_number, check_seed
from lightrnn_pl.vocabulary import Vocabulary


class MissingSourceError(ValueError):
    """What classes are made from is not there; a model that is loaded does not need it."""


class WordClasses(ABC):
    """A way to part a vocabulary into classes."""

    @abstractmethod
    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        """The class of each word; every class from 0 to the largest has at least one word.

        Args:
            vocabulary: Whose words are to be parted.
            num_classes: How many classes; None leaves the choice to the strategy.
            tokens: Word ids of the training text, (N,) or in blocks, for strategies that look at co-occurrence; None
                where there is none at hand.

        Raises:
            ValueError: If there cannot be so many classes.
            MissingSourceError: If the classes are made from something that is not there.
        """


class RandomClasses(WordClasses):
    """Classes of equal size, their words drawn at random (Kim et al. 2016); by default ceil(sqrt(V)) of them.

    Args:
        seed: Of the permutation alone, so that it does not depend on what else drew random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        check_seed("model.output.classes.seed", seed)
        self.seed = seed

    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        """See :class:`WordClasses`."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(vocabulary), generator=generator) % _checked(len(vocabulary), num_classes)


class FrequencyClasses(WordClasses):
    """Words in order of frequency, cut into classes that weigh the same (Mikolov et al. 2011).

    With ``power`` 1 a class's weight is its share of the running text, so the first classes are single frequent words
    and the last ones hold very many rare words.  A word that outweighs a class is alone in it, and the rest is shared
    out among the other classes.

    Args:
        power: A word weighs its count to this power: 1 as in the paper, 0.5 as in later releases of its toolkit, 0 for
            classes of equal size.
    """

    def __init__(self, power: float = 1.0) -> None:
        check_number("model.output.classes.power", power, least=0)
        self.power = power

    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        """See :class:`WordClasses`."""
        num_words = len(vocabulary)
        num_classes = _checked(num_words, num_classes)
        order = np.argsort(-vocabulary.counts, kind="stable")
        totals = np.cumsum(np.maximum(vocabulary.counts[order], 1).astype(np.float64) ** self.power)
        classes = np.empty(num_words, dtype=np.int64)
        start, before = 0, 0.0
        for number in range(num_classes):
            left = num_classes - number
            # A little less than an equal share, so that rounding does not take one word more.
            goal = before + (totals[-1] - before) / left * (1 - 1e-9)
            stop = int(np.searchsorted(totals, goal)) + 1
            # Each class that is left needs a word; the last takes all there are.
            stop = num_words if left == 1 else min(max(stop, start + 1), num_words - left + 1)
            classes[order[start:stop]] = number
            start, before = stop, float(totals[stop - 1])
        return torch.from_numpy(classes)


class ClusteredClasses(WordClasses):
    """Words that occur in the same places: balanced clusters of co-occurrence vectors; by default ceil(sqrt(V)).

    The sizes of classes differ by one word at most, so that none of them is slow.

    Args:
        dimension: Of the co-occurrence vectors.
        iterations: Of the clustering.
        num_contexts: How many most frequent words are looked at as neighbours.
        seed: Of all that is drawn.
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

    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        """See :class:`WordClasses`; needs ``tokens``."""
        num_words = len(vocabulary)
        num_classes = _checked(num_words, num_classes)
        if tokens is None:
            raise MissingSourceError(
                "model/output/classes=clusters counts neighbours in the training text, which is not at hand; choose "
                "model/output/classes=frequency"
            )
        capacities = np.full(num_classes, num_words // num_classes)
        capacities[: num_words % num_classes] += 1
        vectors = cooccurrence_vectors(tokens, num_words, self.dimension, self.num_contexts, self.seed)
        clusters = balanced_clusters(vectors, vocabulary.counts, capacities, self.iterations, self.seed)
        return torch.from_numpy(clusters.astype(np.int64))


class ClassesFromFile(WordClasses):
    """Classes that somebody chose: the rows of a word table, such as a trained LightRNN's or the clusters of another
    program.

    Args:
        path: A .tsv, .csv or .parquet file with the columns word, row and column (any different numbers in a row) for
            every word of the vocabulary; see ``allocation.formats``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __call__(self, vocabulary: Vocabulary, num_classes: int | None, tokens: Any = None) -> Int[Tensor, " V"]:
        """See :class:`WordClasses`; rows without words are left out.

        Raises:
            MissingSourceError: If there is no such file.
        """
        if not self.path.is_file():
            raise MissingSourceError(
                f"there is no word table at {self.path}; give model.output.classes.path a .tsv, .csv or .parquet file"
            )
        codes, _ = read_table(self.path, vocabulary.words)
        rows, classes = codes[:, 0].unique(return_inverse=True)
        if num_classes not in (None, len(rows)):
            raise ValueError(
                f"{self.path} has {len(rows)} rows with words, but model.output.num_classes={num_classes}; set it to "
                "null to have a class a row"
            )
        return classes


def _checked(num_words: int, num_classes: int | None) -> int:
    """The number of classes, ceil(sqrt(V)) where none is given."""
    if num_classes is None:
        return math.isqrt(num_words - 1) + 1
    check_count("model.output.num_classes", num_classes)
    if num_classes > num_words:
        raise ValueError(
            f"model.output.num_classes={num_classes} is more than the {num_words} words of the vocabulary; give fewer, "
            "or null for the square root of their number"
        )
    return num_classes
