"""Tuning: BLEU is sacrebleu's, the envelope is that of brute force, the line search finds what a dense grid finds."""

import itertools

import numpy as np
import pytest

from lightrnn_pl.rescoring.tuning import NUM_COUNTS, Candidates, corpus_bleu, envelope, line_search, tune

sacrebleu = pytest.importorskip("sacrebleu")


def some_counts(generator: np.random.Generator, rows: int) -> np.ndarray:
    """Counts as a hypothesis might have them: fewer matches of longer n-grams."""
    length = generator.integers(4, 12, rows)
    totals = np.stack([length - n for n in range(4)], 1)
    correct = np.minimum.accumulate(generator.integers(0, totals + 1), axis=1)
    return np.concatenate([length[:, None], generator.integers(4, 12, rows)[:, None], correct, totals], 1)


def candidates(seed: int, sentences: int = 9, most: int = 8, columns: int = 3, rounded: bool = False) -> Candidates:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, most + 1, sentences)
    features = generator.normal(size=(sizes.sum(), columns))
    if rounded:  # many ties: equal slopes, equal lines, several lines through a corner
        features = features.round()
    counts = some_counts(generator, sizes.sum()).astype(np.int32)
    starts = np.cumsum([0, *sizes[:-1]])
    return Candidates(features.astype(np.float32), counts, starts, np.zeros(NUM_COUNTS, dtype=np.int64))


def slow_choice(scores: np.ndarray, starts: np.ndarray) -> list[int]:
    ends = [*starts[1:], len(scores)]
    return [
        max(range(start, end), key=lambda place: (scores[place], -place))
        for start, end in zip(starts, ends, strict=True)
    ]


def slow_bleu(given: Candidates, scores: np.ndarray) -> float:
    counts = given.constant + given.counts[slow_choice(scores, given.starts)].astype(np.int64).sum(0)
    length, reference, *rest = counts.tolist()
    score = sacrebleu.BLEU.compute_bleu(rest[:4], rest[4:], length, reference, smooth_method="exp")
    return score.score


def test_bleu_is_sacrebleus_of_any_counts():
    generator = np.random.default_rng(0)
    counts = some_counts(generator, 400)
    counts[::7, 2:6] = 0  # nothing matches
    counts[1::7, 4:6] = 0  # no long n-gram matches: smoothed
    counts[2::7, 9] = counts[2::7, 5] = 0  # too short for 4-grams
    counts[3::50] = 0  # an empty hypothesis
    expected = [
        sacrebleu.BLEU.compute_bleu(row[2:6], row[6:], row[0], row[1], smooth_method="exp").score
        for row in counts.tolist()
    ]
    assert corpus_bleu(counts) == pytest.approx(expected, abs=1e-9)
    assert sum(score > 0 for score in expected) > 200


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_envelope_is_what_is_highest_everywhere(seed, rounded):
    given = candidates(seed, rounded=rounded)
    slopes, heights = given.project(np.array([1.0, 0.5, 0])), given.project(np.array([0, 0.25, 1.0]))
    walk = list(envelope(slopes, heights, given.starts))
    corners = np.unique(np.concatenate([at for at, _, _ in walk[1:]]))
    bounds = [corners[0] - 5, *corners, corners[-1] + 5]
    tried = [(low + high) / 2 for low, high in itertools.pairwise(bounds) if high - low > 1e-9]
    assert len(tried) > 5
    for t in tried:
        chosen = dict(zip(range(len(given.starts)), walk[0][1].tolist(), strict=True))
        of_sentence = np.searchsorted(given.starts, np.arange(len(slopes)), side="right") - 1
        for at, old, new in walk[1:]:
            for corner, before, after in zip(at, old, new, strict=True):
                if corner < t:
                    assert chosen[of_sentence[before]] == before
                    chosen[of_sentence[before]] = after
        values = heights + t * slopes
        best = slow_choice(values, given.starts)
        assert values[list(chosen.values())] == pytest.approx(values[best], abs=1e-9)
        if not rounded:
            assert list(chosen.values()) == best


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_line_search_finds_the_best_of_a_dense_grid(seed, rounded):
    given = candidates(seed, rounded=rounded)
    generator = np.random.default_rng(100 + seed)
    weights, direction = generator.normal(size=(2, 3))
    scores, slopes = given.project(weights), given.project(direction)
    step, bleu = line_search(given, scores, slopes)
    grid = max(slow_bleu(given, scores + t * slopes) for t in np.linspace(-30, 30, 3001))
    assert bleu >= grid - 1e-9
    assert bleu == pytest.approx(slow_bleu(given, scores + step * slopes), abs=1e-9)
    # No step pays where it cannot bring more than staying.
    if bleu == slow_bleu(given, scores):
        assert step == 0


def test_what_is_common_to_a_sentence_moves_nothing():
    given = candidates(0)
    assert line_search(given, given.project(np.ones(3)), np.ones(len(given.features)))[0] == 0


def test_tuning_reaches_the_best_of_many_weights():
    for seed in range(3):
        given = candidates(seed, sentences=6, most=4)
        start = np.array([1.0, 0.0, 0.0])
        weights, bleu = tune(given, start, restarts=10, seed=1)
        generator = np.random.default_rng(seed)
        found = max(slow_bleu(given, given.project(some)) for some in generator.normal(size=(4000, 3)))
        assert bleu >= found - 1e-9
        assert bleu == pytest.approx(slow_bleu(given, given.project(weights)), abs=1e-9)
        assert np.abs(weights).sum() == pytest.approx(1)
        again, _ = tune(given, start, restarts=10, seed=1)
        assert again.tolist() == weights.tolist()


def test_tuning_never_loses_and_leaves_unused_features_alone():
    given = candidates(5)
    start = np.array([0.3, -1.0, 2.0])
    _, bleu = tune(given, start, restarts=0, directions=0)
    assert bleu >= slow_bleu(given, given.project(start))
    weights, bleu = tune(given, start, used=np.array([True, False, True]), restarts=2)
    assert weights[1] == 0 and (weights[[0, 2]] != 0).all()
    assert bleu >= slow_bleu(given, given.project(start * [1, 0, 1]))


def test_the_constant_part_counts():
    given = candidates(3)
    more = Candidates(given.features, given.counts, given.starts, np.array([0, 500, *[0] * 8], dtype=np.int64))
    scores = given.project(np.ones(3))
    assert more.bleu(scores) == pytest.approx(slow_bleu(more, scores), abs=1e-9)
    assert more.bleu(scores) < 0.1 * given.bleu(scores)
