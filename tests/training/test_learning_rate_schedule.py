"""Learning-rate schedules, driven by a minimal stand-in for the trainer."""

import math
from types import SimpleNamespace

import pytest
import torch

from lightrnn_pl.training.learning_rate_schedule import KimSchedule, PlateauSchedule, StepSchedule


def rates(schedule, losses, lr=2.0):
    """The learning rate after each validation loss."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    optimizer.param_groups[0]["initial_lr"] = lr
    trainer = SimpleNamespace(optimizers=[optimizer], sanity_checking=False, callback_metrics={})
    seen = []
    for loss in losses:
        if loss == "new round":
            schedule.start_round(trainer)
        else:
            trainer.callback_metrics["valid/nll"] = loss
            schedule.on_validation_end(trainer, None)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def test_plateau_halves_when_validation_stalls():
    assert rates(PlateauSchedule(), [5, 4, 4.5, 3, 3]) == [2, 2, 1, 1, 0.5]


def test_plateau_respects_patience_and_min_gain():
    assert rates(PlateauSchedule(patience=1), [5, 5, 5, 5]) == [2, 2, 1, 1]
    assert rates(PlateauSchedule(min_gain=0.5), [5, 4.9, 4.4]) == [2, 1, 1]


def test_plateau_restarts_with_each_round():
    assert rates(PlateauSchedule(), [3, 4, "new round", 9, 8]) == [2, 1, 2, 2, 2]


def nlls(*perplexities):
    return [math.log(perplexity) for perplexity in perplexities]


def test_kim_halves_if_the_perplexity_gained_on_the_previous_epoch_is_below_one():
    # The rule of main.lua: from the third validation on, compared with the previous validation instead of the best.
    assert rates(KimSchedule(), nlls(100, 105, 104.5, 103, 102.1, 101)) == [2, 2, 1, 1, 0.5, 0.5]
    # A gain of 0.01 nats is more than one at a perplexity of 300, and less than one at 30.
    assert rates(KimSchedule(), nlls(500, 300, 298.5))[-1] == 2
    assert rates(KimSchedule(), nlls(500, 30, 29.5))[-1] == 1
    assert rates(KimSchedule(min_gain=0.4), nlls(500, 30, 29.5))[-1] == 2


def test_kim_decays_if_the_loss_is_infinite_or_not_a_number():
    assert rates(KimSchedule(), [5, 4, math.nan, 4, 1000, 1000]) == [2, 2, 1, 1, 0.5, 0.25]


def test_kim_restarts_with_each_round():
    assert rates(KimSchedule(), [*nlls(9, 9, 9), "new round", *nlls(9, 9, 9)]) == [2, 2, 1, 2, 2, 2, 1]


def test_steps_follow_the_list_and_repeat_its_last_factor():
    assert rates(StepSchedule([1, 0.5, 0.25]), [9, 9, 9, "new round", 9]) == [1, 0.5, 0.5, 2, 1]


@pytest.mark.parametrize(
    "make", [lambda: PlateauSchedule(), lambda: KimSchedule(), lambda: StepSchedule([1, 0.5, 0.25])]
)
def test_a_resumed_schedule_continues(make):
    losses = [5, 5, 4, 4.5, 4.4]
    first, second = make(), make()
    before = rates(first, losses[:2])
    second.load_state_dict(first.state_dict())
    assert rates(make(), losses)[2:] == pytest.approx(rates(second, losses[2:], lr=2.0)) and len(before) == 2


@pytest.mark.parametrize("make", [lambda: PlateauSchedule(warmup_steps=4), lambda: StepSchedule([1, 0.5], 4)])
def test_warms_up_at_the_start_of_each_round(make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    optimizer.param_groups[0]["initial_lr"] = 2.0
    trainer = SimpleNamespace(optimizers=[optimizer], sanity_checking=False, callback_metrics={"valid/nll": 5.0})
    schedule, seen = make(), []
    module = SimpleNamespace(log=lambda name, rate: seen.append(rate))
    schedule.on_fit_start(trainer, module)
    for _ in range(2):
        schedule.on_train_batch_start(trainer, module)
    resumed = make()
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(3):
        resumed.on_train_batch_start(trainer, module)
    assert seen == [0.5, 1.0, 1.5, 2.0, 2.0]
    resumed.start_round(trainer)
    resumed.on_train_batch_start(trainer, module)
    assert seen[-1] == 0.5


def test_rejects_invalid_settings():
    with pytest.raises(ValueError, match=r"schedule.decay must be between 0 and 1, got 1.5"):
        PlateauSchedule(decay=1.5)
    with pytest.raises(ValueError, match=r"schedule.patience must be an integer greater than or equal to 0, got -1"):
        PlateauSchedule(patience=-1)
    with pytest.raises(
        ValueError, match=r"schedule.min_gain must be a number greater than or equal to 0, in nats per word, got -0.5"
    ):
        PlateauSchedule(min_gain=-0.5)
    with pytest.raises(ValueError, match=r"schedule.decay must be between 0 and 1, got 0"):
        KimSchedule(decay=0)
    with pytest.raises(ValueError, match=r"schedule.min_gain must be .*, a difference of perplexities, got -1"):
        KimSchedule(min_gain=-1)
    with pytest.raises(ValueError, match=r"schedule.warmup_steps must be .* got -3"):
        StepSchedule([1], warmup_steps=-3)
    with pytest.raises(ValueError, match=r"schedule.factors must be positive"):
        StepSchedule([])
