"""The bootstrap: predicted losses, restored weights, and the ends of rounds and of training."""

import copy
import logging
import math

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.training.experiment import train
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.reallocation import gather_statistics, mover, passes
from lightrnn_pl.training.reallocation.callback import Reallocation
from tests.allocation.test_loss_statistics import nll_by_loops
from tests.training.runs import compose_run

SHORT = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=4", "trainer.max_epochs=12")


def slow_nll(model, batches, new_codes: np.ndarray) -> float:
    """Mean NLL in float64 with the old codes as inputs and ``new_codes`` scored, computed token by token."""
    model = copy.deepcopy(model).double().eval()
    cells = {tuple(code) for code in new_codes.tolist()}
    weights, biases = ([part.numpy() for part in parts] for parts in model.output.axis_parameters())
    allowed: dict[tuple[int, ...], list[int]] = {}
    for cell in sorted(cells):
        for axis in range(len(cell)):
            choices = allowed.setdefault(cell[:axis], [])
            if cell[axis] not in choices:
                choices.append(cell[axis])
    total, count, state = 0.0, 0, None
    for batch in batches:
        with torch.no_grad():
            hidden, state = model.hidden(batch.inputs, batch.targets, state, batch.reset)
        for stream in range(len(batch.targets)):
            for position in range(batch.targets.shape[1]):
                if not batch.mask[stream, position]:
                    continue
                code = tuple(new_codes[batch.targets[stream, position]].tolist())
                for axis, own in enumerate(code):
                    step = hidden[stream, position * len(code) + axis].numpy()
                    choices = allowed[code[:axis]]
                    scores = weights[axis][choices] @ step + biases[axis][choices]
                    total += float(np.logaddexp.reduce(scores) - scores[choices.index(own)])
                count += 1
    return total / count


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param([], id="k=2"),
        pytest.param(["model.sides=[8,8]"], id="empty cells"),
        pytest.param(["model.hidden_dim=5", "model.sides=[5,11]"], id="hidden sums and empty cells"),
        pytest.param(["model.components=3"], id="k=3"),
    ],
)
def test_the_predicted_loss_is_that_of_the_new_codes_with_the_old_ones_fed(overrides, tiny_text, tmp_path):
    config = compose_run(tmp_path / "run", tiny_text, "model.init_scale=0.8", *overrides)
    seed_everything(1, verbose=False)
    data = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    model = build_model(config, build_allocation(config, data.vocabulary), data.vocabulary)
    statistics = gather_statistics.gather_statistics(model, data.statistics_dataloader(), torch.device("cpu"))
    old = model.allocation.codes.numpy().copy()
    new = old[np.random.default_rng(3).permutation(len(old))]
    assert statistics.total_nll() / statistics.count == pytest.approx(
        slow_nll(model, data.statistics_dataloader(), old), rel=1e-5
    )
    predicted = statistics.predicted_nll(torch.from_numpy(new)) / statistics.count
    expected = slow_nll(model, data.statistics_dataloader(), new)
    assert predicted == pytest.approx(expected, rel=1e-4)
    assert abs(expected / slow_nll(model, data.statistics_dataloader(), old) - 1) > 1e-3  # the reallocation matters


@pytest.fixture
def recorded(monkeypatch):
    """The states of the model at the validations, statistics passes and reallocations of a run."""
    events = {"validations": [], "gathered": [], "reallocated": []}
    validate, gather, reallocate = Reallocation.record_validation, passes.gather_statistics, Reallocation._reallocate

    def record_validation(self, trainer, nll, model):
        events["validations"].append((self.round, nll, copy.deepcopy(model.state_dict())))
        validate(self, trainer, nll, model)

    def record_gather(model, *rest):
        events["gathered"].append(copy.deepcopy(model.state_dict()))
        return gather(model, *rest)

    def record_reallocation(self, trainer, module, window):
        before = copy.deepcopy(module.model.state_dict())
        reallocate(self, trainer, module, window)
        after = copy.deepcopy(module.model.state_dict())
        optimizer = trainer.optimizers[0]
        states = [state.get("momentum_buffer") for state in optimizer.state.values()]
        events["reallocated"].append(
            {
                "before": before,
                "after": after,
                "momenta": states,
                "lr": optimizer.param_groups[0]["lr"],
                "state": module._state,
            }
        )

    step = LanguageModelingModule.training_step

    def checked_step(self, batch, batch_idx):
        assert all(part.training for part in self.modules())  # also after passes with dropout off
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModelingModule, "training_step", checked_step)
    monkeypatch.setattr(Reallocation, "record_validation", record_validation)
    monkeypatch.setattr(passes, "gather_statistics", record_gather)
    monkeypatch.setattr(Reallocation, "_reallocate", record_reallocation)
    return events


def same(one: dict, other: dict, but: str = "-") -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items() if but not in name)


def test_a_reallocation_starts_from_the_best_weights_of_its_round(recorded, tiny_text, tmp_path):
    config = compose_run(
        tmp_path / "run",
        tiny_text,
        *SHORT,
        # From its second epoch on, a round has an absurd learning rate, so its first validation is its best.
        *("schedule=steps", "schedule.factors=[1,30,30]", "reallocation.max_rounds=3", "reallocation.patience=2"),
        "reallocation.epochs_per_round=3",
    )
    metrics = train(config)
    assert len(recorded["reallocated"]) == 2
    for number in (1, 2):
        validations = [(nll, state) for of, nll, state in recorded["validations"] if of == number]
        nlls = [nll for nll, _ in validations]
        best = int(np.argmin(nlls))
        assert best < len(nlls) - 1, nlls
        assert same(recorded["gathered"][number - 1], validations[best][1])
        summary = metrics["rounds"][number - 1]
        assert summary["valid_nll"] == min(nlls) and summary["valid_perplexity"] == pytest.approx(math.exp(min(nlls)))
        reallocated = recorded["reallocated"][number - 1]
        # Only the allocation changes.
        assert same(reallocated["after"], validations[best][1], but="codes")
        assert not same(reallocated["after"], validations[best][1])
        assert reallocated["lr"] == config.optimizer.lr and reallocated["state"] is None
        reallocation = summary["reallocation"]
        assert reallocation["nll_predicted"] < reallocation["nll_before"]
        assert reallocation["cost"] >= reallocation["lower_bound"]
        assert reallocation["words_moved"] > 0
        assert reallocation["share_moved"] == reallocation["words_moved"] / metrics["vocabulary"]


def test_the_control_changes_nothing(recorded, tiny_text, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    metrics = train(
        compose_run(
            tmp_path / "run", tiny_text, *SHORT, "solver=keep", "reallocation.max_rounds=2", "reallocation.patience=1"
        )
    )
    assert same(recorded["reallocated"][0]["after"], recorded["gathered"][0])
    reallocation = metrics["rounds"][0]["reallocation"]
    assert reallocation["words_moved"] == 0
    assert reallocation["nll_predicted"] == pytest.approx(reallocation["nll_before"], rel=1e-6)
    assert reallocation["nll_measured"] == pytest.approx(reallocation["nll_before"], rel=1e-6)
    assert reallocation["cost"] == pytest.approx(reallocation["nll_before"] * metrics["tokens"]["train"], rel=1e-2)
    assert "control, no reallocation" in caplog.text and "words reallocated" not in caplog.text
    assert max(len(line) for message in caplog.messages for line in message.splitlines() if "/" not in line) <= 80


@pytest.mark.parametrize("storage", ["hidden", "scores"])
def test_statistics_collected_in_training_equal_those_of_a_pass_if_weights_are_frozen(storage, tiny_text, tmp_path):
    """With a learning rate of 0 and no dropout, both see the same hidden states and reallocate the same words."""
    reallocations, tables = [], []
    for kind in ("pass", "training"):
        frozen = ("optimizer.lr=0", "model.dropout=0.0", "model.init_scale=0.8", "trainer.max_epochs=2")
        config = compose_run(
            tmp_path / kind,
            tiny_text,
            *(*frozen, f"reallocation.statistics={kind}", f"reallocation.storage={storage}"),
            # A single stream, because with several, the tokens that do not divide evenly are dropped.
            *("data.batch_size=1", "data.sequence_length=40"),
            *("reallocation.max_rounds=2", "reallocation.epochs_per_round=1"),
        )
        metrics = train(config)
        reallocations.append(metrics["rounds"][0]["reallocation"])
        tables.append(metrics["table"])
    from_pass, from_training = reallocations
    assert (from_pass["statistics"], from_training["statistics"]) == ("pass", "training")
    for key in ("nll_before", "nll_predicted", "cost", "nll_measured"):
        assert from_training[key] == pytest.approx(from_pass[key], rel=1e-5)
    assert from_training["words_moved"] == from_pass["words_moved"] > 0


def copied_parameters(output):
    """Output vectors and biases of each axis."""
    return [[part.detach().clone() for part in parts] for parts in output.axis_parameters()]


@pytest.fixture
def windows(monkeypatch):
    """The training steps, batches and statistics of each window in which training collects statistics for a round."""
    collected, current, steps = [], [], []
    step, add, move = LanguageModelingModule.training_step, gather_statistics.add_batch, mover.Mover.move

    def training_step(self, batch, batch_idx):
        steps.append((self.trainer.global_step, self.model.output))
        return step(self, batch, batch_idx)

    def add_batch(statistics, hidden, targets, mask):
        number, output = steps[-1]
        weights, biases = copied_parameters(output)
        states = hidden.detach().unflatten(1, (targets.shape[1], -1))[mask]
        current.append((number, weights, biases, targets[mask], states))
        add(statistics, hidden, targets, mask)

    def record_move(self, trainer, module, statistics=None):
        collected.append((list(current), copy.deepcopy(statistics), copied_parameters(module.model.output)))
        current.clear()
        return move(self, trainer, module, statistics)

    monkeypatch.setattr(LanguageModelingModule, "training_step", training_step)
    monkeypatch.setattr(gather_statistics, "add_batch", add_batch)
    monkeypatch.setattr(mover.Mover, "move", record_move)
    return collected


@pytest.mark.parametrize("storage", ["hidden", "scores"])
@pytest.mark.parametrize(
    ("interval", "epochs", "steps"),
    [
        pytest.param(1.0, [1.0, 1.0], [range(10), range(10, 20)], id="epochs"),
        # Validation follows batches 4 and 8 of each epoch of ten batches, so one interval in two has six batches.
        pytest.param(0.4, [1.4, 1.0], [range(8, 14), range(18, 24)], id="within and across epochs"),
    ],
)
def test_statistics_collected_in_training_match_loops(interval, epochs, steps, storage, windows, tiny_text, tmp_path):
    overrides = (
        *("experiment=lightrnn/paper", "model.sides=[8,8]", "model.init_scale=0.8", f"reallocation.storage={storage}"),
        *("reallocation.max_rounds=3", "reallocation.epochs_per_round=1", "reallocation.patience=9"),
        *(f"trainer.val_check_interval={interval}", "trainer.limit_train_batches=10", "trainer.max_epochs=3"),
    )
    metrics = train(compose_run(tmp_path / "run", tiny_text, *overrides))
    assert [summary["epochs"] for summary in metrics["rounds"][:2]] == epochs
    assert len(windows) == 2
    for summary, expected_steps, (batches, statistics, final) in zip(metrics["rounds"], steps, windows, strict=False):
        assert summary["reallocation"]["statistics"] == "training"
        assert [number for number, *_ in batches] == list(expected_steps)
        factor = 10 / len(expected_steps)
        counts = torch.cat([targets for *_, targets, _ in batches]).bincount(minlength=metrics["vocabulary"])
        assert statistics.counts.tolist() == (counts.double() * factor).tolist()
        old = statistics.problem().codes
        for codes in (old, old[np.random.default_rng(3).permutation(len(old))]):
            codes = torch.from_numpy(codes)
            expected = np.zeros(2)
            for _, weights, biases, targets, states in batches:
                expected += nll_by_loops(weights, biases, targets, states, codes)
                for axis in (0, 1) if storage == "hidden" else ():  # the logits are those of the final output vectors
                    own, state = codes[targets, axis], states[:, axis]
                    expected[axis] += float(logit(weights[axis], biases[axis], own, state).sum())
                    expected[axis] -= float(logit(final[0][axis], final[1][axis], own, state).sum())
            assert statistics.nll_by_axis(codes) == pytest.approx(factor * expected, rel=1e-5)


def logit(weight, bias, codes, states):
    return (weight[codes] * states).sum(-1) + bias[codes]


def test_statistics_are_collected_only_before_validations_that_can_end_a_round(windows, tiny_text, tmp_path):
    """With a learning rate of 0, only the first validation is an improvement, so the third one ends the round."""
    overrides = ("reallocation.statistics=training", "reallocation.max_rounds=2", "reallocation.patience=2")
    intervals = ("trainer.val_check_interval=0.5", "trainer.limit_train_batches=10", "trainer.max_epochs=3")
    train(compose_run(tmp_path / "run", tiny_text, "optimizer.lr=0", *overrides, *intervals))
    assert [[number for number, *_ in batches] for batches, *_ in windows] == [list(range(10, 15))]


def test_the_loss_is_measured_on_the_batches_of_training(tiny_text, tmp_path):
    """With a learning rate of 0 and no moves, the loss of the first batches is both predicted and measured."""
    overrides = ("reallocation.statistics=training", "reallocation.max_rounds=2", "reallocation.epochs_per_round=1")
    fixed = ("optimizer.lr=0", "model.dropout=0.0", "solver=keep", "trainer.limit_train_batches=3")
    metrics = train(compose_run(tmp_path / "run", tiny_text, *fixed, *overrides))
    reallocation = metrics["rounds"][0]["reallocation"]
    assert reallocation["nll_measured"] == pytest.approx(reallocation["nll_predicted"], rel=1e-5)


def test_measure_false_skips_the_second_pass(tiny_text, tmp_path, monkeypatch):
    monkeypatch.setattr(mover, "mean_nll_by_axis", lambda *_: pytest.fail("second pass"))
    overrides = ("reallocation.measure=false", "reallocation.max_rounds=2", "reallocation.epochs_per_round=1")
    metrics = train(compose_run(tmp_path / "run", tiny_text, *SHORT, *overrides))
    reallocation = metrics["rounds"][0]["reallocation"]
    assert reallocation["nll_measured"] is None and reallocation["words_moved"] > 0


def test_rejects_a_table_too_large_for_the_solver_before_training(tiny_text, tmp_path, recorded):
    with pytest.raises(ValueError, match=r"solver=exact would need .* GiB .* use solver=auction"):
        train(compose_run(tmp_path / "run", tiny_text, *SHORT, "solver=exact", "solver.memory_limit_gib=1e-9"))
    assert not recorded["validations"]


@pytest.mark.parametrize("choice", ["keep", "rebuild"])
def test_the_optimizer_state_is_kept_or_rebuilt(choice, recorded, tiny_text, tmp_path):
    train(
        compose_run(
            tmp_path / "run",
            tiny_text,
            *SHORT,
            *("+optimizer.momentum=0.9", f"reallocation.optimizer_state={choice}"),
            *("reallocation.max_rounds=2", "reallocation.epochs_per_round=1"),
        )
    )
    momenta = recorded["reallocated"][0]["momenta"]
    assert bool(momenta) == (choice == "keep")
    assert all(momentum.abs().sum() > 0 for momentum in momenta)


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        pytest.param(
            ["reallocation.max_rounds=3", "reallocation.epochs_per_round=2"], [2, 2, 2], id="epochs_per_round"
        ),
        # With a learning rate of 0, only the first validation of a round counts as an improvement.
        pytest.param(["optimizer.lr=0", "reallocation.max_rounds=2", "reallocation.patience=2"], [3, 3], id="patience"),
        pytest.param(
            ["reallocation.max_rounds=1", "reallocation.patience=1", "reallocation.min_gain=99"], [2], id="min_gain"
        ),
        pytest.param(
            [
                *("schedule=steps", "schedule.factors=[1,1,0.01]"),
                *("reallocation.max_rounds=2", "reallocation.min_learning_rate=0.1"),
            ],
            [2, 2],
            id="min_learning_rate",
        ),
        pytest.param(
            ["reallocation.max_rounds=3", "reallocation.epochs_per_round=1", "reallocation.max_hours=0"],
            [1],
            id="max_hours",
        ),
        pytest.param(
            ["reallocation.max_rounds=4", "reallocation.epochs_per_round=1", "reallocation.min_round_gain=99"],
            [1, 1],
            id="min_round_gain",
        ),
        pytest.param(
            ["reallocation.max_rounds=3", "reallocation.epochs_per_round=[1,2]"], [1, 2, 2], id="epochs_per_round list"
        ),
        pytest.param(["trainer.max_epochs=3", "reallocation.epochs_per_round=2"], [2, 1], id="max_epochs"),
        pytest.param(
            ["trainer.max_epochs=2", "reallocation.epochs_per_round=1"], [1, 1], id="max_epochs at a boundary"
        ),
        pytest.param(["reallocation=none", "reallocation.epochs_per_round=2"], [2], id="none"),
        pytest.param(["model=full", "reallocation.epochs_per_round=1"], [1], id="full"),
        pytest.param(["model.components=1", "reallocation.epochs_per_round=1"], [1], id="k=1"),
        pytest.param(
            ["model.components=3", "reallocation.max_rounds=2", "reallocation.epochs_per_round=1"], [1, 1], id="k=3"
        ),
    ],
)
def test_the_ends_of_rounds_and_of_training(overrides, epochs, tiny_text, tmp_path):
    metrics = train(compose_run(tmp_path / "run", tiny_text, *SHORT, *overrides))
    assert metrics["status"] == "completed"
    assert [summary["epochs"] for summary in metrics["rounds"]] == epochs
    assert [summary["round"] for summary in metrics["rounds"]] == list(range(1, len(epochs) + 1))
    assert ["reallocation" in summary for summary in metrics["rounds"]] == [True] * (len(epochs) - 1) + [False]
    assert len(metrics["history"]) == sum(epochs)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reallocation.max_rounds=0", "reallocation.max_rounds must be an integer greater than or equal to 1, got 0"),
        ("reallocation.patience=0", "reallocation.patience must be an integer greater than or equal to 1, got 0"),
        ("reallocation.epochs_per_round=0", "epochs_per_round must be an integer .* or null, got 0"),
        ("reallocation.epochs_per_round=[2,0]", r"epochs_per_round must be .* got \[2, 0\]"),
        ("reallocation.statistics=none", "reallocation.statistics must be pass or training, got 'none'"),
        ("reallocation.storage=disk", "reallocation.storage must be auto, hidden or scores, got 'disk'"),
        ("reallocation.optimizer_state=maybe", "reallocation.optimizer_state must be keep or rebuild, got 'maybe'"),
    ],
)
def test_rejects_invalid_settings(override, message, tiny_text, tmp_path):
    config = compose_run(tmp_path / "run", tiny_text, override)
    with pytest.raises(ValueError, match=message):
        instantiate(config.bootstrap, schedule=instantiate(config.schedule))
