"""Which class each word belongs to, for outputs that predict a word's class before the word.

Each class here is one way, and a file in ``conf/model/output/classes``.  Knows words and counts, nothing of vectors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lightrnn_pl.allocation.formats import read_table
from lightrnn_pl.checks import check_count
from lightrnn_pl.vocabulary import Vocabulary


class WordClasses(ABC):
    """A way to part a vocabulary into classes."""

    @abstractmethod
    def __call__(self, vocabulary: Vocabulary, num_classes: int | None) -> Int[Tensor, " V"]:
        """The class of each word; every class from 0 to the largest has at least one word.

        Args:
            vocabulary: Whose words are to be parted.
            num_classes: How many classes; None leaves the choice to the strategy.

        Raises:
            ValueError: If there cannot be so many classes.
        """


class RandomClasses(WordClasses):
    """Classes of equal size, their words drawn at random (Kim et al. 2016); by default ceil(sqrt(V)) of them.

    Args:
        seed: Of the permutation alone, so that it does not depend on what else drew random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        check_count("model.output.classes.seed", seed, at_least=0)
        self.seed = seed

    def __call__(self, vocabulary: Vocabulary, num_classes: int | None) -> Int[Tensor, " V"]:
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
        if not isinstance(power, int | float) or not 0 <= power < math.inf:
            raise ValueError(f"model.output.classes.power must be a number of at least 0, got {power}")
        self.power = power

    def __call__(self, vocabulary: Vocabulary, num_classes: int | None) -> Int[Tensor, " V"]:
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


class ClassesFromFile(WordClasses):
    """Classes that somebody chose: the rows of a word table, such as a trained LightRNN's or the clusters of another
    program.

    Args:
        path: A .tsv, .csv or .parquet file with the columns word, row and column (any different numbers in a row) for
            every word of the vocabulary; see ``allocation.formats``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __call__(self, vocabulary: Vocabulary, num_classes: int | None) -> Int[Tensor, " V"]:
        """See :class:`WordClasses`; rows without words are left out.

        Raises:
            FileNotFoundError: If there is no such file.
        """
        if not self.path.is_file():
            raise FileNotFoundError(
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
