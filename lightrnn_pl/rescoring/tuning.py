"""Tuning of the weights of a linear model over n-best lists to optimize a metric (Och 2003).

Along a line w + t d in weight space, the score of every hypothesis is a linear function of t.  The best hypothesis of a
sentence changes only at the corners of the upper envelope of these functions, and the metric of the corpus is constant
between the corners.  Evaluating every interval between corners therefore finds the exact optimum along the line.  Lines
are the axes and random directions, starting from the initial weights and from random weights.  This is minimum error
rate training (MERT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightrnn_pl.checks import check_count
from lightrnn_pl.rescoring.references import Vector

_ROWS = 1 << 14
"""Number of rows of a matrix on disk that are multiplied at a time."""

_MIN_WIDTH = 1e-9
"""Intervals narrower than this fraction of their position are ignored, because rounding could miss them."""

_MIN_GAIN = 1e-3
"""Improvement of the metric in percent below which the passes over all directions end."""


@dataclass(frozen=True)
class Candidates:
    """All hypotheses of a list, grouped by sentence.

    Attributes:
        features: Features of each hypothesis, (N, D); may be a memory map.
        counts: Statistics of each hypothesis, (N, C); may be a memory map.
        starts: Index of the first hypothesis of each sentence, (sentences,).
        constant: Statistics of the corpus that do not depend on the selected hypotheses, (C,).
        metric: The quality of summed statistics, (..., C) -> (...); higher is better (``References.quality``).
    """

    features: NDArray[np.float32]
    counts: NDArray[np.int32]
    starts: NDArray[np.int64]
    constant: NDArray[np.int64]
    metric: Callable[[NDArray[np.int64]], Vector]

    def project(self, direction: Vector) -> Vector:
        """``features @ direction``, (N,)."""
        parts = [
            self.features[start : start + _ROWS].astype(np.float64) @ direction
            for start in range(0, len(self.features), _ROWS)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def best(self, scores: Vector) -> NDArray[np.int64]:
        """The first hypothesis with the highest score of each sentence, (sentences,)."""
        return _first_where(scores == self._repeat(np.maximum.reduceat(scores, self.starts)), self.starts)

    def quality(self, scores: Vector) -> float:
        """The quality of the hypotheses with the highest ``scores``."""
        return float(self.metric(self.constant + self.counts[self.best(scores)].sum(0, dtype=np.int64)))

    def within_sentence_std(self) -> Vector:
        """The standard deviation of each feature within sentences, (D,)."""
        lengths = np.diff([*self.starts, len(self.features)])
        total = np.zeros(self.features.shape[1])
        for column in range(self.features.shape[1]):
            values = self.features[:, column].astype(np.float64)
            means = np.add.reduceat(values, self.starts) / lengths
            total[column] = np.square(values - np.repeat(means, lengths)).mean()
        return np.sqrt(total)

    def share_with_different_values(self, column: int) -> float:
        """The share of the sentences whose hypotheses differ in a feature."""
        values = self.features[:, column].astype(np.float64)
        lowest, highest = (extreme.reduceat(values, self.starts) for extreme in (np.minimum, np.maximum))
        return float((lowest < highest).mean())

    def _repeat(self, by_sentence: Vector) -> Vector:
        return np.repeat(by_sentence, np.diff([*self.starts, len(self.features)]))


def envelope(
    slopes: Vector, intercepts: Vector, starts: NDArray[np.int64]
) -> Iterator[tuple[Vector, NDArray[np.int64], NDArray[np.int64]]]:
    """The upper envelope of the lines of each sentence from t = -inf to inf, for all sentences in parallel.

    Args:
        slopes: The slope of each line, (N,).
        intercepts: The value of each line at t = 0, (N,).
        starts: Index of the first line of each sentence, (sentences,).

    Yields:
        For all sentences with another corner: t at the corner, the highest line before it and the highest line after
        it.  The first item contains every sentence, with t = -inf and the highest line there as both lines.
    """
    index = np.arange(len(slopes))
    lengths = np.diff([*starts, len(slopes)])
    lowest = np.repeat(np.minimum.reduceat(slopes, starts), lengths)
    heights = np.where(slopes == lowest, intercepts, -np.inf)
    current = _first_where(heights == np.repeat(np.maximum.reduceat(heights, starts), lengths), starts)
    yield np.full(len(starts), -np.inf), current, current
    before = np.full(len(starts), -np.inf)
    while True:
        # Only steeper lines can exceed the current one.
        steeper = slopes > np.repeat(slopes[_positions(index, current)], lengths)
        remaining = np.add.reduceat(steeper, starts, dtype=np.int64)
        active = remaining > 0
        if not active.any():
            return
        current_slopes, current_intercepts = (part[_positions(index, current)] for part in (slopes, intercepts))
        current, before, lengths = current[active], before[active], remaining[active]
        index, slopes, intercepts = index[steeper], slopes[steeper], intercepts[steeper]
        starts = np.cumsum(lengths) - lengths
        gaps = np.repeat(current_intercepts[active], lengths) - intercepts
        corners = gaps / (slopes - np.repeat(current_slopes[active], lengths))
        nearest = np.minimum.reduceat(corners, starts)
        # Of several lines through a corner, the steepest is the highest after it.
        steep = np.where(corners == np.repeat(nearest, lengths), slopes, -np.inf)
        next_line = _first_where(steep == np.repeat(np.maximum.reduceat(steep, starts), lengths), starts)
        # Due to rounding, a corner may be slightly before the previous one.
        before = np.maximum(before, nearest)
        yield before, current, index[next_line]
        current = index[next_line]


def line_search(candidates: Candidates, scores: Vector, slopes: Vector) -> tuple[float, float]:
    """The step t along a direction that maximizes quality, and the quality at that step.  t = 0 if no step improves it.

    Args:
        candidates: The candidates of the list.
        scores: The scores at t = 0, (N,).
        slopes: The derivatives of the scores with respect to t, (N,).
    """
    walk = envelope(slopes, scores, candidates.starts)
    _, first, _ = next(walk)
    start = candidates.constant + candidates.counts[first].sum(0, dtype=np.int64)
    steps = list(walk)
    counts = candidates.counts
    if not steps:
        return 0.0, float(candidates.metric(start))
    corners = np.concatenate([corner for corner, _, _ in steps])
    changes = np.concatenate([counts[new].astype(np.int64) - counts[old] for _, old, new in steps])
    order = np.argsort(corners, kind="stable")
    corners = corners[order]
    quality = candidates.metric(np.concatenate([[start], start + np.cumsum(changes[order], axis=0)]))
    margins = 1 + np.abs(corners[[0, -1]])
    bounds = np.concatenate([[corners[0] - margins[0]], corners, [corners[-1] + margins[1]]])
    middles = (bounds[:-1] + bounds[1:]) / 2
    quality = np.where(np.diff(bounds) > _MIN_WIDTH * (1e-3 + np.abs(middles)), quality, -np.inf)
    current_quality = candidates.quality(scores)
    if quality.max() <= current_quality:
        return 0.0, current_quality
    ties = np.flatnonzero(quality == quality.max())
    # Of several optimal intervals, the widest is the most robust.
    chosen = ties[np.argmax(np.diff(bounds)[ties])]
    return float(middles[chosen]), float(quality[chosen])


def tune(
    candidates: Candidates,
    start: Vector,
    used: NDArray[np.bool_] | None = None,
    restarts: int = 10,
    directions: int = 10,
    seed: int = 0,
) -> tuple[Vector, float]:
    """Tune the weights with line searches from several starting points.

    Args:
        candidates: The candidates of the list.
        start: The initial weights, (D,).
        used: Mask of the features that may have a nonzero weight, (D,); None for all.
        restarts: Number of additional random starting points.
        directions: Number of random directions per pass, in addition to the axes.
        seed: Seed of the random starting points and directions; features that are not used do not affect them.

    Returns:
        The best weights, scaled to an L1 norm of one, and their quality, which is never below that of ``start``.
    """
    check_count("restarts", restarts, at_least=0)
    check_count("directions", directions, at_least=0)
    generator = np.random.default_rng(seed)
    spread = candidates.within_sentence_std()
    if used is not None:
        start, spread = np.where(used, start, 0.0), np.where(used, spread, 0.0)
    # A step of one unit along any axis has a similar effect on scores.  Features that never differ are not tuned.
    units = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0.0)
    tuned = np.flatnonzero(units)
    scale = float(np.abs(start * spread).max()) or 1.0
    best, best_quality = start, candidates.quality(candidates.project(start))
    for number in range(restarts + 1):
        weights = start.copy()
        if number:
            weights[tuned] += generator.normal(size=len(tuned)) * units[tuned] * scale
        weights, quality = _climb(candidates, weights, np.diag(units)[tuned], directions, generator)
        if quality > best_quality:
            best, best_quality = weights, quality
    total = float(np.abs(best).sum())
    return (best / total if total else best), best_quality


def _climb(
    candidates: Candidates,
    weights: Vector,
    axes: NDArray[np.float64],
    directions: int,
    generator: np.random.Generator,
) -> tuple[Vector, float]:
    """Repeat passes of line searches along the axes and random directions until quality does not improve."""
    scores = candidates.project(weights)
    quality = candidates.quality(scores)
    while True:
        before = quality
        random_directions = generator.normal(size=(directions, len(axes))) @ axes
        for direction in generator.permutation(np.concatenate([axes, random_directions])):
            step, _ = line_search(candidates, scores, candidates.project(direction))
            if step:
                new_weights = weights + step * direction
                new_scores = candidates.project(new_weights)
                # Recomputed, because the selected hypotheses may differ from those of the line search due to rounding.
                if (new_quality := candidates.quality(new_scores)) > quality:
                    weights, scores, quality = new_weights, new_scores, new_quality
        if quality < before + _MIN_GAIN:
            return weights, quality


def _first_where(mask: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first index of each segment at which ``mask`` is True."""
    return np.minimum.reduceat(np.where(mask, np.arange(len(mask)), len(mask)), starts)


def _positions(index: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The position of each of ``values`` in the ascending ``index``."""
    return np.searchsorted(index, values)
