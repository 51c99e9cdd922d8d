"""Averages of the weights: their values, when they replace the weights, reallocations, and resuming."""

import pytest
import torch

from lightrnn_pl.checkpoint import load
from lightrnn_pl.training.callbacks.best_bundle import BestBundle
from lightrnn_pl.training.callbacks.weight_averaging import ExponentialAveraging, TriggeredAveraging, WeightAveraging
from lightrnn_pl.training.experiment import train
from tests.training import runs
from tests.training.states import assert_same_bits, best_state, last_state

SHORT = ["trainer.limit_train_batches=6", "resume_point.every_steps=2", "optimizer.lr=0.5", "model.num_layers=1"]
SHORT += ["schedule=steps", "schedule.factors=[1]"]  # the learning rate does not depend on validations


def slow_average(history: list[torch.Tensor], decay: float | None) -> torch.Tensor:
    """The average of the weights after each step."""
    average = torch.zeros_like(history[0])
    for count, weights in enumerate(history):
        share = 1 / (count + 1) if decay is None else max(1 - decay, 1 / (count + 1))
        average = (1 - share) * average + share * weights
    return average


class Recorded:
    """Records the weights after each step, and those in each validation."""

    def __init__(self, monkeypatch):
        self.steps: list[torch.Tensor] = []
        self.validated: list[torch.Tensor] = []
        self.active: list[bool] = []
        add, save = WeightAveraging.on_train_batch_end, BestBundle.on_validation_end

        def on_train_batch_end(callback, trainer, pl_module, *args):
            self.active.append(callback.is_active)
            self.steps.append(vector_of(pl_module))
            add(callback, trainer, pl_module, *args)

        def on_validation_end(callback, trainer, pl_module):
            self.validated.append(vector_of(pl_module))
            save(callback, trainer, pl_module)

        monkeypatch.setattr(WeightAveraging, "on_train_batch_end", on_train_batch_end)
        monkeypatch.setattr(BestBundle, "on_validation_end", on_validation_end)


def vector_of(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().double().flatten() for parameter in module.parameters()])


def test_the_moving_average_replaces_the_weights_in_validations_and_in_the_bundle(tiny_text, tmp_path, monkeypatch):
    recorded = Recorded(monkeypatch)
    one_round = ["reallocation=none", "trainer.max_epochs=3", "averaging=ema", "averaging.decay=0.7"]
    result = train(runs.compose_run(tmp_path / "run", tiny_text, *SHORT, *one_round))
    assert len(recorded.steps) == 18 and len(recorded.validated) == 3
    for validation, weights in enumerate(recorded.validated, start=1):
        torch.testing.assert_close(weights, slow_average(recorded.steps[: 6 * validation], 0.7), rtol=0, atol=1e-6)
    best = min(range(3), key=lambda index: result["history"][index]["valid_perplexity"])
    assert torch.equal(vector_of(load(tmp_path / "run" / "best.ckpt").model), recorded.validated[best])
    # Training continues with the weights themselves: without averaging, the same steps are taken.
    averaged = list(recorded.steps)
    plain = Recorded(monkeypatch)
    train(runs.compose_run(tmp_path / "plain", tiny_text, *SHORT, *one_round[:2], "averaging=nt_asgd"))
    assert torch.equal(torch.stack(plain.steps), torch.stack(averaged)) and not any(plain.active)


def test_averaging_is_triggered_by_a_validation_without_improvement(tiny_text, tmp_path, monkeypatch):
    recorded = Recorded(monkeypatch)
    # Validation losses of a run that diverges from the third validation on.
    losses = iter([5.0, 4.0, 4.5, 4.4, 4.6])
    observe = TriggeredAveraging.observe
    monkeypatch.setattr(TriggeredAveraging, "observe", lambda self, nll: observe(self, next(losses)))
    overrides = ["reallocation=none", "reallocation.patience=9", "averaging=nt_asgd", "averaging.patience=1"]
    train(runs.compose_run(tmp_path / "run", tiny_text, *SHORT, *overrides, "trainer.max_epochs=5"))
    # 4.5 > min(5.0)? No. 4.4 > min(5.0, 4.0): yes, so steps from 25 on are averaged.
    assert recorded.active == [False] * 24 + [True] * 6
    for index in range(4):
        assert torch.equal(recorded.validated[index], recorded.steps[6 * index + 5])
    expected = slow_average(recorded.steps[24:], None)
    torch.testing.assert_close(recorded.validated[4], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("averaging", ["averaging=ema", "averaging=nt_asgd averaging.patience=0"])
def test_a_killed_run_with_reallocations_ends_bit_identical(averaging, tiny_text, tmp_path):
    rounds = ["reallocation.max_rounds=2", "reallocation.epochs_per_round=3", "reallocation.patience=9"]
    overrides = [*SHORT, *rounds, *averaging.split(), "data.random_lengths=true", "optimizer.lr=3"]
    whole = train(runs.compose_run(tmp_path / "whole", tiny_text, *overrides))
    assert len(whole["rounds"]) == 2 and whole["rounds"][0]["reallocation"]["words_moved"] > 0
    runs.kill_run("step=15", tmp_path / "run", tiny_text, *overrides)
    resumed = train(runs.compose_run(tmp_path / "run", tiny_text, *overrides))
    assert_same_bits(last_state(tmp_path / "run"), last_state(tmp_path / "whole"))
    assert_same_bits(best_state(tmp_path / "run"), best_state(tmp_path / "whole"))
    assert resumed["test"] == whole["test"]


def test_a_reallocation_continues_from_the_averaged_weights_with_a_new_average(tiny_text, tmp_path, monkeypatch):
    recorded = Recorded(monkeypatch)
    rounds = ["reallocation.max_rounds=2", "reallocation.epochs_per_round=2", "reallocation.patience=9"]
    train(runs.compose_run(tmp_path / "run", tiny_text, *SHORT, *rounds, "averaging=ema", "averaging.decay=0.9"))
    second = slow_average(recorded.steps[12:18], 0.9)
    torch.testing.assert_close(recorded.validated[2], second, rtol=0, atol=1e-6)
    # One step moves the weights by little, compared with the distance of the trained weights from their average.
    start = recorded.validated[1]
    assert (recorded.steps[12] - start).norm() < (recorded.steps[12] - recorded.steps[11]).norm()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialAveraging(None, 1.0), "averaging.decay must be a probability below 1, got 1.0"),
        (lambda: TriggeredAveraging(None, -1), "averaging.patience must be"),
    ],
)
def test_invalid_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()
