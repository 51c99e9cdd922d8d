"""The optimizer of the LightningModule on different devices."""

from types import SimpleNamespace

import pytest
import torch

from tests.training.tiny_fit import batches, build_module, compose_tiny


@pytest.mark.parametrize(
    ("device", "scaler", "overrides", "expected"),
    [
        ("cuda", None, ["optimizer=sgd"], True),
        ("cuda", None, ["optimizer=adamw"], True),
        ("cuda", None, ["optimizer=adagrad"], None),
        ("cuda", None, ["+optimizer.fused=false"], False),
        ("cuda", object(), ["optimizer=sgd"], None),
        ("cpu", None, ["optimizer=sgd"], None),
    ],
)
def test_optimizers_are_fused_on_gpus(device, scaler, overrides, expected, monkeypatch):
    module = build_module(compose_tiny(*overrides))
    monkeypatch.setattr(type(module), "device", torch.device(device))
    monkeypatch.setattr(
        type(module), "trainer", SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler)), raising=False
    )
    (group,) = module.configure_optimizers().param_groups
    assert group["fused"] is expected and group["initial_lr"] == group["lr"]


@pytest.mark.parametrize("reduction", ["word", "window"])
@pytest.mark.parametrize("steps_per_word", [1, 2])
def test_penalties_equal_sums_over_steps_with_gradients(reduction, steps_per_word):
    code = ["model=row_word", f"model.steps_per_word={steps_per_word}"] if steps_per_word == 1 else []
    module = build_module(compose_tiny(*code))
    module.loss_reduction, module.log = reduction, lambda *args, **kwargs: None
    batch = next(iter(batches()))

    def loss_and_gradients():
        module.reset_state()
        loss = module.training_step(batch, 0)
        return loss, torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)

    plain, plain_gradients = loss_and_gradients()
    module.activation_regularization, module.temporal_activation_regularization = 2.0, 3.0
    actual, gradients = loss_and_gradients()

    hidden, _ = module.model.hidden(batch.inputs, batch.targets, None, batch.reset)
    streams, num_steps, size = hidden.shape
    activation = sum((hidden[:, step] ** 2).sum() for step in range(num_steps)) / (streams * num_steps * size)
    temporal = sum(((hidden[:, step] - hidden[:, step - 1]) ** 2).sum() for step in range(1, num_steps))
    penalty = 2 * activation + 3 * temporal / (streams * (num_steps - 1) * size)
    penalty = penalty * (batch.targets.shape[1] if reduction == "window" else 1)
    torch.testing.assert_close(actual, plain + penalty)
    added = torch.autograd.grad(penalty, list(module.parameters()), allow_unused=True)
    for gradient, before, part in zip(gradients, plain_gradients, added, strict=True):
        if part is not None:
            torch.testing.assert_close(gradient, before + part)


def test_the_activation_penalty_applies_after_dropout_and_the_temporal_one_before():
    module = build_module(compose_tiny("model.output_dropout=0.5"))
    states = torch.ones(2, 5, 40)
    hidden = states * 2
    module.activation_regularization = 1.0
    assert module._penalty(states, hidden) == 4
    module.temporal_activation_regularization = 1.0
    assert module._penalty(states, hidden) == 4
    assert module._penalty(states[:, :1], hidden[:, :1]) == 4  # a single step has no difference
    states[:, ::2] = 3
    assert module._penalty(states, hidden) == 4 + 4


def test_random_window_lengths_scale_the_gradient():
    """With the loss summed over the window, a window of half the length has about half the gradient."""
    module = build_module(compose_tiny())
    module.log = lambda *args, **kwargs: None
    batch = next(iter(batches()))
    losses = [module.model(batch.inputs, batch.targets)[0][:, :length] for length in (3, 6)]
    module.reset_state()
    half = batch._replace(inputs=batch.inputs[:, :3], targets=batch.targets[:, :3], mask=batch.mask[:, :3])
    assert module.training_step(half, 0).item() == pytest.approx(losses[0].sum().item() / 4)
