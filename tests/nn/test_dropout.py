"""Dropout: how many elements remain, how they are scaled, and the gradient."""

import pytest
import torch

from lightrnn_pl.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_dropped_and_scaled_elements(probability, dtype):
    torch.manual_seed(0)
    result = dropout(torch.ones(40_001, dtype=dtype), probability)
    dropped = result == 0
    assert dropped.double().mean() == pytest.approx(probability, abs=0.01)
    assert result[~dropped].unique().tolist() == pytest.approx([1 / (1 - probability)], rel=4e-3)
    assert result.dtype == dtype and result.double().mean() == pytest.approx(1, abs=0.03)
    # Neighbors share a number of the generator, but are dropped independently.
    for distance in (1, 2, 3):
        both = (dropped[distance:] & dropped[:-distance]).double().mean()
        assert both == pytest.approx(probability**2, abs=0.01)


def test_gradients_pass_through_the_same_mask():
    torch.manual_seed(0)
    values = torch.randn(3, 5, 7, requires_grad=True)
    result = dropout(values, 0.3)
    result.sum().backward()
    torch.testing.assert_close(values.grad * values, result)


def test_masks_depend_only_on_the_generator():
    values, masks = torch.ones(3, 50), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks.append(dropout(values, 0.5))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert not torch.equal(dropout(values, 0.5), dropout(values, 0.5))


@pytest.mark.parametrize("probability", [0.0, 1e-9, 1 - 1e-9])
def test_extreme_probabilities_are_finite(probability):
    result = dropout(torch.ones(100), probability)
    assert result.isfinite().all() and (probability > 0.5 or (result == 1).all())


def test_modules_drop_in_training_only():
    module, values = Dropout(0.5), torch.ones(100)
    assert module.eval()(values) is values
    assert (module.train()(values) == 0).any()
    assert module(values.to("meta")).device.type == "meta"
