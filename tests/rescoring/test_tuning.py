"""Tuning: BLEU equals sacrebleu, the envelope equals brute force, and line search is as good as a dense grid."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from lightrnn_pl.rescoring.references import BleuReferences, WerReferences
from lightrnn_pl.rescoring.tuning import Candidates, envelope, line_search, tune

sacrebleu = pytest.importorskip("sacrebleu")


def random_counts(generator: np.random.Generator, rows: int) -> np.ndarray:
    """Random BLEU statistics with fewer matches of longer n-grams, as in real hypotheses."""
    length = generator.integers(4, 12, rows)
    totals = np.stack([length - n for n in range(4)], 1)
    correct = np.minimum.accumulate(generator.integers(0, totals + 1), axis=1)
    return np.concatenate([length[:, None], generator.integers(4, 12, rows)[:, None], correct, totals], 1)


def random_candidates(
    seed: int, sentences: int = 9, max_size: int = 8, columns: int = 3, rounded: bool = False
) -> Candidates:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, max_size + 1, sentences)
    features = generator.normal(size=(sizes.sum(), columns))
    if rounded:  # many ties: equal slopes, equal lines, several lines through a corner
        features = features.round()
    counts = random_counts(generator, sizes.sum()).astype(np.int32)
    starts = np.cumsum([0, *sizes[:-1]])
    return Candidates(features.astype(np.float32), counts, starts, np.zeros(10, dtype=np.int64), BleuReferences.quality)


def slow_choice(scores: np.ndarray, starts: np.ndarray) -> list[int]:
    ends = [*starts[1:], len(scores)]
    return [
        max(range(start, end), key=lambda index: (scores[index], -index))
        for start, end in zip(starts, ends, strict=True)
    ]


def slow_bleu(candidates: Candidates, scores: np.ndarray) -> float:
    counts = candidates.constant + candidates.counts[slow_choice(scores, candidates.starts)].astype(np.int64).sum(0)
    length, reference, *rest = counts.tolist()
    score = sacrebleu.BLEU.compute_bleu(rest[:4], rest[4:], length, reference, smooth_method="exp")
    return score.score


def test_bleu_equals_sacrebleu():
    generator = np.random.default_rng(0)
    counts = random_counts(generator, 400)
    counts[::7, 2:6] = 0  # nothing matches
    counts[1::7, 4:6] = 0  # no long n-gram matches: smoothed
    counts[2::7, 9] = counts[2::7, 5] = 0  # too short for 4-grams
    counts[3::50] = 0  # an empty hypothesis
    expected = [
        sacrebleu.BLEU.compute_bleu(row[2:6], row[6:], row[0], row[1], smooth_method="exp").score
        for row in counts.tolist()
    ]
    assert BleuReferences.value(counts) == pytest.approx(expected, abs=1e-9)
    assert sum(score > 0 for score in expected) > 200


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_envelope_equals_brute_force(seed, rounded):
    candidates = random_candidates(seed, rounded=rounded)
    slopes, heights = candidates.project(np.array([1.0, 0.5, 0])), candidates.project(np.array([0, 0.25, 1.0]))
    walk = list(envelope(slopes, heights, candidates.starts))
    corners = np.unique(np.concatenate([at for at, _, _ in walk[1:]]))
    bounds = [corners[0] - 5, *corners, corners[-1] + 5]
    midpoints = [(low + high) / 2 for low, high in itertools.pairwise(bounds) if high - low > 1e-9]
    assert len(midpoints) > 5
    for t in midpoints:
        chosen = dict(zip(range(len(candidates.starts)), walk[0][1].tolist(), strict=True))
        of_sentence = np.searchsorted(candidates.starts, np.arange(len(slopes)), side="right") - 1
        for at, old, new in walk[1:]:
            for corner, before, after in zip(at, old, new, strict=True):
                if corner < t:
                    assert chosen[of_sentence[before]] == before
                    chosen[of_sentence[before]] = after
        values = heights + t * slopes
        best = slow_choice(values, candidates.starts)
        assert values[list(chosen.values())] == pytest.approx(values[best], abs=1e-9)
        if not rounded:
            assert list(chosen.values()) == best


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_line_search_is_as_good_as_a_dense_grid(seed, rounded):
    candidates = random_candidates(seed, rounded=rounded)
    generator = np.random.default_rng(100 + seed)
    weights, direction = generator.normal(size=(2, 3))
    scores, slopes = candidates.project(weights), candidates.project(direction)
    step, bleu = line_search(candidates, scores, slopes)
    grid = max(slow_bleu(candidates, scores + t * slopes) for t in np.linspace(-30, 30, 3001))
    assert bleu >= grid - 1e-9
    assert bleu == pytest.approx(slow_bleu(candidates, scores + step * slopes), abs=1e-9)
    # If no step improves BLEU, the step is zero.
    if bleu == slow_bleu(candidates, scores):
        assert step == 0


def test_constant_direction_gives_no_step():
    candidates = random_candidates(0)
    assert line_search(candidates, candidates.project(np.ones(3)), np.ones(len(candidates.features)))[0] == 0


def test_tuning_is_as_good_as_random_search():
    for seed in range(3):
        candidates = random_candidates(seed, sentences=6, max_size=4)
        start = np.array([1.0, 0.0, 0.0])
        weights, bleu = tune(candidates, start, restarts=10, seed=1)
        generator = np.random.default_rng(seed)
        best_random = max(
            slow_bleu(candidates, candidates.project(random)) for random in generator.normal(size=(4000, 3))
        )
        assert bleu >= best_random - 1e-9
        assert bleu == pytest.approx(slow_bleu(candidates, candidates.project(weights)), abs=1e-9)
        assert np.abs(weights).sum() == pytest.approx(1)
        repeated, _ = tune(candidates, start, restarts=10, seed=1)
        assert repeated.tolist() == weights.tolist()


def test_tuning_never_reduces_bleu_and_ignores_unused_features():
    candidates = random_candidates(5)
    start = np.array([0.3, -1.0, 2.0])
    _, bleu = tune(candidates, start, restarts=0, directions=0)
    assert bleu >= slow_bleu(candidates, candidates.project(start))
    weights, bleu = tune(candidates, start, used=np.array([True, False, True]), restarts=2)
    assert weights[1] == 0 and (weights[[0, 2]] != 0).all()
    assert bleu >= slow_bleu(candidates, candidates.project(start * [1, 0, 1]))


def test_unused_features_do_not_affect_the_others():
    candidates = random_candidates(5)
    used = np.array([True, False, True])
    weights, bleu = tune(candidates, np.array([1.0, 0.0, 0.0]), used=used, restarts=2)
    alone, bleu_alone = tune(
        replace(candidates, features=candidates.features[:, used]), np.array([1.0, 0.0]), restarts=2
    )
    np.testing.assert_allclose(weights[used], alone)
    assert bleu == bleu_alone


def test_constant_statistics_are_added():
    candidates = random_candidates(3)
    shifted = Candidates(
        candidates.features, candidates.counts, candidates.starts, np.array([0, 500, *[0] * 8]), BleuReferences.quality
    )
    scores = candidates.project(np.ones(3))
    assert shifted.quality(scores) == pytest.approx(slow_bleu(shifted, scores), abs=1e-9)
    assert shifted.quality(scores) < 0.1 * candidates.quality(scores)


def test_tuning_for_the_lowest_word_error_rate_is_as_good_as_a_dense_grid():
    generator = np.random.default_rng(0)
    starts = np.arange(0, 60, 6)
    counts = np.stack([generator.integers(0, 8, 60), np.repeat(generator.integers(5, 9, 10), 6)], 1).astype(np.int32)
    features = generator.normal(size=(60, 2)).astype(np.float32)
    candidates = Candidates(features, counts, starts, np.array([0, 3]), WerReferences.quality)

    def slow_wer(scores: np.ndarray) -> float:
        errors, words = counts[slow_choice(scores, starts)].sum(0)
        return 100 * errors / (words + 3)

    weights, quality = tune(candidates, np.array([1.0, 0.0]), seed=1)
    angles = np.linspace(0, 2 * np.pi, 2000)
    grid = min(slow_wer(features @ np.array([np.cos(angle), np.sin(angle)])) for angle in angles)
    assert -quality == pytest.approx(slow_wer(candidates.project(weights)), abs=1e-9)
    assert -quality <= grid + 1e-9 < slow_wer(candidates.project(np.array([1.0, 0.0])))
