"""Recurrent cores: the contract that all of them satisfy, and each compared with a slow computation."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from lightrnn_pl.nn import cores
from lightrnn_pl.nn.cores import GRUCore, LSTMCore, MinGRUCore, RNNCore

FUSED = [LSTMCore, GRUCore, RNNCore]
ALL = [*FUSED, MinGRUCore]


def make(core, layers: int = 2, dropout: float = 0.0):
    torch.manual_seed(0)
    result = core(5, 7, layers, dropout).double()
    result.initialise(0.8)
    return result


def random_inputs(length: int = 6) -> torch.Tensor:
    return torch.randn(3, length, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def values_and_gradients(core, inputs, state=None):
    hidden, after = core(inputs, state)
    total = (hidden**2).sum() + sum(part.sum() for part in after)
    return [hidden, *after, *torch.autograd.grad(total, list(core.parameters()))]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("core", ALL)
def test_contract(core, training):
    core = make(core, layers=3).train(training)
    inputs = random_inputs()
    hidden, state = core(inputs)
    assert hidden.shape == (3, 6, 7) and [part.shape for part in state] == [(3, 3, 7)] * len(core.state_names)
    assert torch.equal(core.last_hidden(state), hidden[:, -1])
    torch.testing.assert_close(core(inputs, core.zero_state(inputs)), (hidden, state))
    # In two windows, and one step at a time.
    for bounds in ((0, 2, 6), range(7)):
        parts, carried = [], None
        for start, stop in pairwise(bounds):
            part, carried = core(inputs[:, start:stop], carried)
            parts.append(part)
        torch.testing.assert_close((torch.cat(parts, 1), carried), (hidden, state))
    # Causal.
    changed = inputs.clone()
    changed[:, 4:] += 1
    assert torch.equal(core(changed)[0][:, :4], hidden[:, :4])
    assert not torch.equal(core(changed)[0][:, 4], hidden[:, 4])


@pytest.mark.parametrize("core", FUSED)
def test_layer_by_layer_equals_the_module_of_pytorch_with_gradients(core):
    core, inputs = make(core, layers=3), random_inputs()
    state = tuple(torch.randn(3, 3, 7, dtype=torch.float64) for _ in core.state_names)
    together = values_and_gradients(core.eval(), inputs, state)
    one_by_one = values_and_gradients(core.train(), inputs, state)
    torch.testing.assert_close(one_by_one, together)


@pytest.mark.parametrize("core", ALL)
def test_dropout_is_applied_between_layers_in_training(core, monkeypatch):
    """If all elements are dropped, the second layer does not depend on what the first one reads."""
    core, inputs = make(core, dropout=0.3), random_inputs()
    monkeypatch.setattr(core.dropout, "forward", lambda hidden: torch.zeros_like(hidden) if core.training else hidden)
    assert core.dropout.p == 0.3 and torch.equal(core.train()(inputs)[0], core(inputs + 1)[0])
    assert not torch.equal(core.eval()(inputs)[0], core(inputs + 1)[0])
    single = make(type(core), layers=1, dropout=0.3).train()
    assert not torch.equal(single(inputs)[0], single(inputs + 1)[0])


@pytest.mark.parametrize("core", FUSED)
@pytest.mark.parametrize("layers", [1, 2])
def test_weight_dropout_equals_a_loop_over_the_layers_with_gradients(core, layers, monkeypatch):
    masks = iter(torch.randint(3, (layers, 40 * 7, 7), generator=torch.Generator().manual_seed(2)).double())
    used = []

    def drop(weights, probability):
        assert probability == 0.5
        used.append(next(masks)[: len(weights)])
        return weights * used[-1]

    monkeypatch.setattr(cores, "dropout", drop)
    dropped, inputs = make(core, layers), random_inputs()
    dropped.weight_dropout = 0.5
    hidden, state = dropped.train()(inputs)
    gradients = torch.autograd.grad((hidden**2).sum(), list(dropped.parameters()))
    # The same values in a module of PyTorch, with the mask applied to its weights and to their gradients.
    plain = make(core, layers)
    with torch.no_grad():
        for number, mask in enumerate(used):
            plain.get_parameter(f"layers.weight_hh_l{number}").mul_(mask)
    expected, after = plain.eval()(inputs)
    torch.testing.assert_close((hidden, state), (expected, after))
    names = [name for name, _ in plain.named_parameters()]
    for name, actual, gradient in zip(
        names, gradients, torch.autograd.grad((expected**2).sum(), list(plain.parameters())), strict=True
    ):
        masked = gradient * used[int(name[-1])] if "weight_hh" in name else gradient
        torch.testing.assert_close(actual, masked)
    # Not in evaluation.
    assert torch.equal(dropped.eval()(inputs)[0], make(core, layers).eval()(inputs)[0])


@pytest.mark.parametrize("core", FUSED)
@pytest.mark.parametrize("layers", [1, 2])
def test_without_weight_dropout_the_values_are_those_of_the_plain_core(core, layers):
    plain, other = make(core, layers).train(), core(5, 7, layers, weight_dropout=0.0).double().train()
    other.load_state_dict(plain.state_dict())
    for actual, expected in zip(
        values_and_gradients(other, random_inputs()), values_and_gradients(plain, random_inputs()), strict=True
    ):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("core", FUSED)
def test_weights_are_dropped_anew_in_each_window(core):
    torch.manual_seed(0)
    core = core(5, 7, weight_dropout=0.5).double().train()
    first, second = core(random_inputs())[0], core(random_inputs())[0]
    assert torch.equal(first[:, 0], second[:, 0]) and not torch.equal(first[:, 1], second[:, 1])


def test_weight_dropout_needs_recurrent_weights():
    with pytest.raises(
        ValueError, match=r"model.weight_dropout=0.5 needs recurrent weights, which MinGRUCore does not"
    ):
        MinGRUCore(5, 7, weight_dropout=0.5)


@pytest.mark.parametrize("layers", [1, 2])
def test_minimal_gru_equals_a_loop_with_gradients(layers):
    core, inputs = make(MinGRUCore, layers), random_inputs()
    before = torch.randn(layers, 3, 7, dtype=torch.float64)

    def by_loop(inputs, state):
        after = []
        for layer, hidden in zip(core.layers, state[0], strict=True):
            steps = []
            for step in inputs.unbind(1):
                logits, candidate = layer(step).split(7, -1)
                gate = 1 / (1 + torch.exp(-logits))
                hidden = (1 - gate) * hidden + gate * candidate
                steps.append(hidden)
            inputs = torch.stack(steps, 1)
            after.append(hidden)
        return inputs, (torch.stack(after),)

    actual = values_and_gradients(core, inputs, (before,))
    core.forward = by_loop
    expected = values_and_gradients(core, inputs, (before,))
    torch.testing.assert_close(actual, expected)


def test_minimal_gru_in_half_precision_is_close():
    core, inputs = make(MinGRUCore), random_inputs(200)
    exact, _ = core(inputs)
    rounded, state = core.bfloat16()(inputs.bfloat16())
    assert rounded.dtype == state[0].dtype == torch.bfloat16
    torch.testing.assert_close(rounded.double(), exact, rtol=0.05, atol=0.05)


def test_parameters():
    assert sum(weights.numel() for weights in make(MinGRUCore).parameters()) == 2 * 7 * (5 + 1) + 2 * 7 * (7 + 1)
    expected = sum(weights.numel() for weights in nn.LSTM(5, 7, 2).parameters())
    assert sum(weights.numel() for weights in make(LSTMCore).parameters()) == expected
