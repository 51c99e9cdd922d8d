"""Weights of a linear model over n-best lists that make BLEU highest (minimum error rate training, Och 2003).

Along a line w + t d every hypothesis is a straight line in t, so the best of a sentence changes only at the corners of
the upper envelope of its hypotheses, and the corpus's BLEU is constant in between: looking at every piece between
corners finds the exact maximum along the line.  Lines are the axes and random directions, from the weights given and
from random ones.

Knows matrices of features and of BLEU's counts; neither texts nor where they come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.checks import check_count

ORDER = 4
NUM_COUNTS = 2 + 2 * ORDER
"""BLEU's counts: length of the hypothesis, length of the reference, n-grams that match, n-grams; n from 1 to 4."""

_ROWS = 1 << 14
"""Rows of a matrix on disk that are multiplied at a time."""

_NARROW = 1e-9
"""Pieces narrower than this share of where they lie are passed over: rounding could miss them."""

_GAIN = 1e-3
"""BLEU points that a pass over all directions must bring to be followed by another."""

Vector = NDArray[np.float64]


def corpus_bleu(counts: NDArray[np.int64]) -> Vector:
    """BLEU in points from summed counts, (..., 10) -> (...): sacrebleu's, with its default exponential smoothing."""
    values = np.asarray(counts, dtype=np.float64)
    length, reference = values[..., 0], values[..., 1]
    correct, total = values[..., 2 : 2 + ORDER], values[..., 2 + ORDER :]
    usable = correct.any(-1) & (total > 0).all(-1)
    halvings = np.cumsum(correct == 0, axis=-1)
    matched = np.where(correct == 0, 0.5**halvings, correct)
    mean_log = np.log(matched / np.where(total > 0, total, 1)).mean(-1)
    brevity = np.minimum(0.0, 1 - reference / np.where(length > 0, length, 1))
    return np.where(usable, 100 * np.exp(mean_log + brevity), 0.0)


@dataclass(frozen=True)
class Candidates:
    """All hypotheses of a list, those of a sentence together.

    Attributes:
        features: (N, D); may lie on disk.
        counts: BLEU's counts of each, (N, 10); may lie on disk.
        starts: The first hypothesis of each sentence, (sentences,).
        constant: Counts that belong to the corpus whatever is chosen, (10,).
    """

    features: NDArray[np.float32]
    counts: NDArray[np.int32]
    starts: NDArray[np.int64]
    constant: NDArray[np.int64]

    def project(self, direction: Vector) -> Vector:
        """``features @ direction``, (N,)."""
        parts = [
            self.features[start : start + _ROWS].astype(np.float64) @ direction
            for start in range(0, len(self.features), _ROWS)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def best(self, scores: Vector) -> NDArray[np.int64]:
        """The hypothesis with the highest score of each sentence, the first of equals."""
        return _first_where(scores == self._spread(np.maximum.reduceat(scores, self.starts)), self.starts)

    def bleu(self, scores: Vector) -> float:
        """BLEU in points of the hypotheses that ``scores`` choose."""
        return float(corpus_bleu(self.constant + self.counts[self.best(scores)].sum(0, dtype=np.int64)))

    def within_spread(self) -> Vector:
        """The standard deviation of each feature within sentences, (D,)."""
        lengths = np.diff([*self.starts, len(self.features)])
        total = np.zeros(self.features.shape[1])
        for column in range(self.features.shape[1]):
            values = self.features[:, column].astype(np.float64)
            means = np.add.reduceat(values, self.starts) / lengths
            total[column] = np.square(values - np.repeat(means, lengths)).mean()
        return np.sqrt(total)

    def _spread(self, of_sentences: Vector) -> Vector:
        return np.repeat(of_sentences, np.diff([*self.starts, len(self.features)]))


def envelope(
    slopes: Vector, intercepts: Vector, starts: NDArray[np.int64]
) -> Iterator[tuple[Vector, NDArray[np.int64], NDArray[np.int64]]]:
    """The upper envelope of each sentence's lines, walked from t = -inf to inf, all sentences at once.

    Args:
        slopes: (N,).
        intercepts: (N,).
        starts: The first line of each sentence.

    Yields:
        For the sentences that have another corner: t there, which line was the highest and which one is now.  The
        first item holds every sentence, t = -inf, and twice the line that is the highest there.
    """
    index = np.arange(len(slopes))
    lengths = np.diff([*starts, len(slopes)])
    lowest = np.repeat(np.minimum.reduceat(slopes, starts), lengths)
    heights = np.where(slopes == lowest, intercepts, -np.inf)
    current = _first_where(heights == np.repeat(np.maximum.reduceat(heights, starts), lengths), starts)
    yield np.full(len(starts), -np.inf), current, current
    before = np.full(len(starts), -np.inf)
    while True:
        # Only steeper lines can rise above the current one.
        steeper = slopes > np.repeat(slopes[_places(index, current)], lengths)
        remaining = np.add.reduceat(steeper, starts, dtype=np.int64)
        live = remaining > 0
        if not live.any():
            return
        current_slopes, current_intercepts = (part[_places(index, current)] for part in (slopes, intercepts))
        current, before, lengths = current[live], before[live], remaining[live]
        index, slopes, intercepts = index[steeper], slopes[steeper], intercepts[steeper]
        starts = np.cumsum(lengths) - lengths
        gaps = np.repeat(current_intercepts[live], lengths) - intercepts
        corners = gaps / (slopes - np.repeat(current_slopes[live], lengths))
        nearest = np.minimum.reduceat(corners, starts)
        # Of the lines through one corner the steepest is the highest after it.
        steep = np.where(corners == np.repeat(nearest, lengths), slopes, -np.inf)
        follow = _first_where(steep == np.repeat(np.maximum.reduceat(steep, starts), lengths), starts)
        # Rounding may put a corner a little before the one it follows.
        before = np.maximum(before, nearest)
        yield before, current, index[follow]
        current = index[follow]


def line_search(candidates: Candidates, scores: Vector, slopes: Vector) -> tuple[float, float]:
    """The step t along a direction with the highest BLEU of all, and that BLEU; t = 0 where nothing is better.

    Args:
        candidates: The list.
        scores: Those at t = 0, (N,).
        slopes: What each score gains a unit of t, (N,).
    """
    walk = envelope(slopes, scores, candidates.starts)
    _, first, _ = next(walk)
    start = candidates.constant + candidates.counts[first].sum(0, dtype=np.int64)
    steps = list(walk)
    counts = candidates.counts
    if not steps:
        return 0.0, float(corpus_bleu(start))
    corners = np.concatenate([corner for corner, _, _ in steps])
    changes = np.concatenate([counts[new].astype(np.int64) - counts[old] for _, old, new in steps])
    order = np.argsort(corners, kind="stable")
    corners = corners[order]
    bleu = corpus_bleu(np.concatenate([[start], start + np.cumsum(changes[order], axis=0)]))
    reach = 1 + np.abs(corners[[0, -1]])
    bounds = np.concatenate([[corners[0] - reach[0]], corners, [corners[-1] + reach[1]]])
    middles = (bounds[:-1] + bounds[1:]) / 2
    bleu = np.where(np.diff(bounds) > _NARROW * (1e-3 + np.abs(middles)), bleu, -1.0)
    here = candidates.bleu(scores)
    if bleu.max() <= here:
        return 0.0, here
    ties = np.flatnonzero(bleu == bleu.max())
    # The widest of equals: the least likely to be an accident.
    chosen = ties[np.argmax(np.diff(bounds)[ties])]
    return float(middles[chosen]), float(bleu[chosen])


def tune(
    candidates: Candidates,
    start: Vector,
    used: NDArray[np.bool_] | None = None,
    restarts: int = 10,
    directions: int = 10,
    seed: int = 0,
) -> tuple[Vector, float]:
    """The weights with the highest BLEU found, scaled so that their absolute values sum to one, and that BLEU.

    It is never below that of ``start``.

    Args:
        candidates: The list.
        start: Weights to start from, (D,).
        used: Features that may have a weight, (D,); None for all.
        restarts: Random weights to start from as well.
        directions: Random directions in each pass, beside the axes.
        seed: Of both.
    """
    check_count("restarts", restarts, at_least=0)
    check_count("directions", directions, at_least=0)
    generator = np.random.default_rng(seed)
    spread = candidates.within_spread()
    if used is not None:
        start, spread = np.where(used, start, 0.0), np.where(used, spread, 0.0)
    # In these units a step of one along any axis moves scores about as much; what never differs is left alone.
    units = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0.0)
    scale = float(np.abs(start * spread).max()) or 1.0
    best, best_bleu = start, candidates.bleu(candidates.project(start))
    for number in range(restarts + 1):
        weights = start + (generator.normal(size=len(start)) * units * scale if number else 0.0)
        weights, bleu = _climb(candidates, weights, units, directions, generator)
        if bleu > best_bleu:
            best, best_bleu = weights, bleu
    total = float(np.abs(best).sum())
    return (best / total if total else best), best_bleu


def _climb(
    candidates: Candidates, weights: Vector, units: Vector, directions: int, generator: np.random.Generator
) -> tuple[Vector, float]:
    """Line searches until a pass over all directions brings nothing more."""
    scores = candidates.project(weights)
    bleu = candidates.bleu(scores)
    while True:
        before = bleu
        axes = np.diag(units)[units > 0]
        for direction in generator.permutation(
            np.concatenate([axes, generator.normal(size=(directions, len(units))) * units])
        ):
            step, _ = line_search(candidates, scores, candidates.project(direction))
            if step:
                moved = weights + step * direction
                moved_scores = candidates.project(moved)
                # Asked again, because what counts is what these weights choose, not what the walk promised.
                if (found := candidates.bleu(moved_scores)) > bleu:
                    weights, scores, bleu = moved, moved_scores, found
        if bleu < before + _GAIN:
            return weights, bleu


def _first_where(mask: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first place of each stretch where ``mask`` is true."""
    return np.minimum.reduceat(np.where(mask, np.arange(len(mask)), len(mask)), starts)


def _places(index: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of ``wanted`` stands in the ascending ``index``."""
    return np.searchsorted(index, wanted)
