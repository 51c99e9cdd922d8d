"""Dropout: how many elements remain, how they are scaled, and the gradient."""

import itertools

import pytest
import torch

from lightrnn_pl.nn.dropout import Dropout, dropout, word_dropout


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


def test_locked_masks_are_constant_over_a_window_and_differ_between_streams_and_windows():
    torch.manual_seed(0)
    module, values = Dropout(0.5, locked=True), torch.ones(4, 6, 50)
    first, second = module(values), module(values)
    assert (first == first[:, :1]).all() and (second == second[:, :1]).all()
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    assert first.unique().tolist() == [0, 2] and 0.3 < (first == 0).double().mean() < 0.7
    assert module.eval()(values) is values and Dropout(0.0, locked=True)(values) is values


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_dropped_words_are_zero_wherever_they_are_read(steps):
    torch.manual_seed(0)
    words, targets = torch.randint(9, (2, 4, 30))
    vectors = torch.ones(4, 30 * steps, 5)
    result = word_dropout(vectors, words, targets, 9, 0.4).view(4, 30, steps, 5)
    scales = torch.full((9,), -1.0)
    for stream, position, step in itertools.product(range(4), range(30), range(steps)):
        word = (targets if step else words)[stream, position]
        vector = result[stream, position, step]
        assert (vector == vector[0]).all() and scales[word] in (-1, vector[0])
        scales[word] = vector[0]
    assert sorted(set(scales.tolist())) == pytest.approx([0, 1 / 0.6], rel=1e-3)
