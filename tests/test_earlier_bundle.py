"""A bundle written by version 0.1.0 (commit 50dbde5) still loads and returns the same numbers."""

from pathlib import Path

import pytest

from lightrnn_pl import load

BUNDLE = Path(__file__).parent / "fixtures" / "lightrnn_0.1.0.ckpt"


def test_scores_and_predictions_are_unchanged():
    bundle = load(BUNDLE)
    assert " ".join(bundle.vocabulary.words) == "the <eos> a cat dog mat on ran sat to was <unk>"
    assert bundle.model.allocation.codes[:4].tolist() == [[1, 2], [2, 2], [1, 1], [3, 1]]
    expected = [-1.0281322, -5.0575171, -3.18595, -2.596962, -1.0056158, -3.2101474, -2.4472184]
    assert bundle.score(["the cat sat on the mat"])[0] == pytest.approx(expected, abs=1e-5)
    prediction = bundle.next_words("the", 3)
    assert prediction.words == ("the", "dog", "<eos>")
    assert prediction.probabilities == pytest.approx((0.3651710, 0.3526868, 0.0890603), abs=1e-5)
