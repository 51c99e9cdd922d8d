"""The initial allocation from a trained model."""

import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.initial.vectors import VectorsAllocation
from lightrnn_pl.allocation.word_vectors import read_vectors
from lightrnn_pl.training.initial_from_model import ModelAllocation
from tests.export.bundles import MODELS, bundle_of

SIDES = (8, 8)


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_allocation_from_saved_vectors(name, tmp_path):
    bundle = bundle_of(name)
    bundle.save(tmp_path / "best.ckpt")
    bundle.save_vectors(tmp_path / "vectors.npz")
    words, counts = bundle.vocabulary.words, bundle.vocabulary.counts
    assert np.array_equal(read_vectors(tmp_path / "vectors.npz", words), bundle.word_vectors())
    table = ModelAllocation(tmp_path / "best.ckpt", seed=1)(len(words), SIDES, words, counts)
    other = VectorsAllocation(tmp_path / "vectors.npz", seed=1)(len(words), SIDES, words, counts)
    assert torch.equal(table.codes, other.codes)
    assert len(table.codes.unique(dim=0)) == len(words)


def test_matches_words_by_name_and_assigns_unknown_words_to_remaining_cells(tmp_path):
    bundle = bundle_of("full")
    bundle.save(tmp_path / "best.ckpt")
    words = [*bundle.vocabulary.words[::-1][:20], "never", "seen"]
    vectors = ModelAllocation(tmp_path / "best.ckpt").vectors(words, np.ones(len(words)), None)
    expected = bundle.word_vectors()[::-1][:20]
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(vectors[:20], expected / lengths, atol=1e-6) and not vectors[20:].any()
    assert (
        len(ModelAllocation(tmp_path / "best.ckpt")(22, (5, 5), words, np.ones(22, np.int64)).codes.unique(dim=0)) == 22
    )


def test_rejects_a_model_without_common_words(tmp_path):
    bundle_of("full").save(tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"has none of the 2 words of this run in its vocabulary"):
        ModelAllocation(tmp_path / "best.ckpt").vectors(["never", "seen"], np.ones(2), None)
