"""Bundles of models whose tied vectors have another size than the hidden state."""

import pytest
import torch

from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.checkpoint import Bundle, load
from tests.training.tiny_fit import VOCABULARY, compose_tiny

FOLDERS = ("paths.run_dir=run", "paths.cache_dir=cache")


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("model=full", "model.embedding_dim=2"), id="full"),
        pytest.param(
            (
                *("model=slim", "model.embedding_dim=20", "model.embedding.disjoint=true"),
                *("model.output.num_parts=10", "model.embedding.compression=0.5", "model.output.compression=0.5"),
            ),
            id="slim",
        ),
        # The first band of the output has the shape of the weights of rows before it is replaced.
        pytest.param(("model=row_word_adaptive", "model.embedding_dim=20", "model.cutoffs=[7]"), id="row and word"),
    ],
)
def test_a_saved_model_is_loaded(overrides, tmp_path):
    config = compose_tiny("model.tied=true", "model.init_scale=0.8", *FOLDERS, *overrides)
    model = build_model(config, build_allocation(config, VOCABULARY), VOCABULARY).eval()
    Bundle(model, VOCABULARY, config, {}).save(tmp_path / "best.ckpt")
    loaded = load(tmp_path / "best.ckpt").model
    words, targets = torch.arange(10).view(2, 5), torch.arange(10, 20).view(2, 5)
    assert torch.equal(loaded.score(words, targets)[0], model.score(words, targets)[0])
    assert loaded.num_parameters == model.num_parameters and loaded.num_bytes == model.num_bytes
    inner = loaded.output.vectors if overrides[0] == "model=row_word_adaptive" else loaded.output
    assert all(not parameter.is_meta for parameter in loaded.parameters()) and inner.tied_projection.requires_grad


def test_an_untied_configuration_of_a_tied_model_is_refused(tmp_path):
    config = compose_tiny("model.tied=true", "model=full", "model.embedding_dim=20", *FOLDERS)
    bundle = Bundle(build_model(config, build_allocation(config, VOCABULARY), VOCABULARY), VOCABULARY, config, {})
    config.model.tied = False
    bundle.save(tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match="the configuration does not describe the stored model"):
        load(tmp_path / "best.ckpt")
