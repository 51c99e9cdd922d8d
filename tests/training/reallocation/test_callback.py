"""The bootstrap: what it predicts, what it goes back to, and what ends a round or a training."""

import copy
import math

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.training.experiment import train
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.reallocation import mover as moving
from lightrnn_pl.training.reallocation import passes
from lightrnn_pl.training.reallocation.callback import Reallocation
from lightrnn_pl.training.reallocation.gather_statistics import gather_statistics
from tests.training.runs import compose_run, kill_run

FEW = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=4", "trainer.max_epochs=12")


def slow_nll(model, batches, new_codes: np.ndarray) -> float:
    """Mean NLL in float64 where the old codes are fed and ``new_codes`` are scored, one token at a time."""
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
            for place in range(batch.targets.shape[1]):
                if not batch.mask[stream, place]:
                    continue
                code = tuple(new_codes[batch.targets[stream, place]].tolist())
                for axis, own in enumerate(code):
                    step = hidden[stream, place * len(code) + axis].numpy()
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
def test_predicted_is_the_loss_of_the_new_codes_with_the_old_ones_fed(overrides, tiny_text, tmp_path):
    config = compose_run(tmp_path / "run", tiny_text, "model.init_scale=0.8", *overrides)
    seed_everything(1, verbose=False)
    data = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    model = build_model(config, build_allocation(config, data.vocabulary), data.vocabulary)
    statistics = gather_statistics(model, data.statistics_dataloader(), torch.device("cpu"))
    old = model.allocation.codes.numpy().copy()
    new = old[np.random.default_rng(3).permutation(len(old))]
    assert statistics.total_nll() / statistics.count == pytest.approx(
        slow_nll(model, data.statistics_dataloader(), old), rel=1e-5
    )
    predicted = statistics.predicted_nll(torch.from_numpy(new)) / statistics.count
    twin = slow_nll(model, data.statistics_dataloader(), new)
    assert predicted == pytest.approx(twin, rel=1e-4)
    assert abs(twin / slow_nll(model, data.statistics_dataloader(), old) - 1) > 1e-3  # the move means something


@pytest.fixture
def watched(monkeypatch):
    """What a run did at its validations and moves."""
    seen = {"validations": [], "gathered": [], "moved": []}
    observe, gather, move = Reallocation.observe, gather_statistics, Reallocation._reallocate

    def watch_observe(self, trainer, nll, model):
        seen["validations"].append((self.round, nll, copy.deepcopy(model.state_dict())))
        observe(self, trainer, nll, model)

    def watch_gather(model, *rest):
        seen["gathered"].append(copy.deepcopy(model.state_dict()))
        return gather(model, *rest)

    def watch_move(self, trainer, module):
        before = copy.deepcopy(module.model.state_dict())
        move(self, trainer, module)
        after = copy.deepcopy(module.model.state_dict())
        optimizer = trainer.optimizers[0]
        states = [state.get("momentum_buffer") for state in optimizer.state.values()]
        seen["moved"].append(
            {
                "before": before,
                "after": after,
                "momenta": states,
                "lr": optimizer.param_groups[0]["lr"],
                "state": module._state,
            }
        )

    step = LanguageModelingModule.training_step

    def watch_step(self, batch, batch_idx):
        assert all(part.training for part in self.modules())  # also after passes with dropout off
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModelingModule, "training_step", watch_step)
    monkeypatch.setattr(Reallocation, "observe", watch_observe)
    monkeypatch.setattr(passes, "gather_statistics", watch_gather)
    monkeypatch.setattr(Reallocation, "_reallocate", watch_move)
    return seen


def same(one: dict, other: dict, but: str = "-") -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items() if but not in name)


def test_a_move_starts_from_the_best_weights_of_its_round(watched, tiny_text, tmp_path):
    config = compose_run(
        tmp_path / "run",
        tiny_text,
        *FEW,
        # The second stretch of a round is trained at an absurd rate, so its first validation is its best.
        *("schedule=steps", "schedule.factors=[1,30,30]", "reallocation.max_rounds=3", "reallocation.patience=2"),
        "reallocation.epochs_per_round=3",
    )
    metrics = train(config)
    assert len(watched["moved"]) == 2
    for number in (1, 2):
        validations = [(nll, state) for of, nll, state in watched["validations"] if of == number]
        nlls = [nll for nll, _ in validations]
        best = int(np.argmin(nlls))
        assert best < len(nlls) - 1, nlls
        assert same(watched["gathered"][number - 1], validations[best][1])
        done = metrics["rounds"][number - 1]
        assert done["valid_nll"] == min(nlls) and done["valid_perplexity"] == pytest.approx(math.exp(min(nlls)))
        moved = watched["moved"][number - 1]
        # Nothing but the table changes.
        assert same(moved["after"], validations[best][1], but="codes")
        assert not same(moved["after"], validations[best][1])
        assert moved["lr"] == config.optimizer.lr and moved["state"] is None
        facts = done["reallocation"]
        assert facts["nll_predicted"] < facts["nll_before"]
        assert facts["cost"] >= facts["lower_bound"]
        assert facts["words_moved"] > 0 and facts["share_moved"] == facts["words_moved"] / metrics["vocabulary"]


def test_the_control_moves_nothing(watched, tiny_text, tmp_path):
    metrics = train(
        compose_run(
            tmp_path / "run", tiny_text, *FEW, "solver=keep", "reallocation.max_rounds=2", "reallocation.patience=1"
        )
    )
    assert same(watched["moved"][0]["after"], watched["gathered"][0])
    facts = metrics["rounds"][0]["reallocation"]
    assert facts["words_moved"] == 0
    assert facts["nll_predicted"] == pytest.approx(facts["nll_before"], rel=1e-6)
    assert facts["nll_measured"] == pytest.approx(facts["nll_before"], rel=1e-6)
    assert facts["cost"] == pytest.approx(facts["nll_before"] * metrics["tokens"]["train"], rel=1e-2)


@pytest.mark.parametrize("storage", ["hidden", "scores"])
def test_statistics_of_training_are_those_of_a_pass_where_nothing_is_learnt(storage, tiny_text, tmp_path):
    """Rate 0 and no dropout: what the epoch saw is what a pass sees, and the same words move."""
    facts, tables = [], []
    for kind in ("pass", "training"):
        frozen = ("optimizer.lr=0", "model.dropout=0.0", "model.init_scale=0.8", "trainer.max_epochs=2")
        config = compose_run(
            tmp_path / kind,
            tiny_text,
            *(*frozen, f"reallocation.statistics={kind}", f"reallocation.storage={storage}"),
            # One stream, because several leave out what does not divide.
            *("data.batch_size=1", "reallocation.max_rounds=2", "reallocation.epochs_per_round=1"),
        )
        metrics = train(config)
        facts.append(metrics["rounds"][0]["reallocation"])
        tables.append(metrics["table"])
    passed, trained = facts
    assert (passed["statistics"], trained["statistics"]) == ("pass", "training")
    for key in ("nll_before", "nll_predicted", "cost", "nll_measured"):
        assert trained[key] == pytest.approx(passed[key], rel=1e-5)
    assert trained["words_moved"] == passed["words_moved"] > 0


def test_only_an_epoch_that_can_be_the_last_is_watched(tiny_text, tmp_path, watched, monkeypatch):
    epochs = []
    watch = Reallocation.on_train_batch_start

    def note(self, trainer, pl_module, batch, index):
        watch(self, trainer, pl_module, batch, index)
        if index == 0 and pl_module.observer is not None:
            epochs.append(trainer.current_epoch)

    monkeypatch.setattr(Reallocation, "on_train_batch_start", note)
    overrides = ("reallocation.statistics=training", "reallocation.max_rounds=2", "reallocation.epochs_per_round=3")
    train(compose_run(tmp_path / "run", tiny_text, *FEW, *overrides, "reallocation.patience=9"))
    assert epochs == [2] and not watched["gathered"]


def test_a_run_resumed_within_an_epoch_takes_a_pass(tiny_text, tmp_path, watched):
    """What the killed run had added up of its epoch is lost, so the numbers come from a pass, and are whole."""
    overrides = (
        *("reallocation.statistics=training", "reallocation.max_rounds=2", "reallocation.epochs_per_round=1"),
        *("resume_point.every_steps=3", "trainer.max_epochs=2"),
    )
    kill_run("step=5", tmp_path / "run", tiny_text, *overrides)
    metrics = train(compose_run(tmp_path / "run", tiny_text, *overrides))
    assert len(watched["gathered"]) == 1
    tokens = metrics["tokens"]["train"]
    facts = metrics["rounds"][0]["reallocation"]
    assert facts["cost"] == pytest.approx(facts["nll_predicted"] * tokens, rel=2e-2)


def test_statistics_of_training_need_whole_epochs(tiny_text, tmp_path):
    overrides = ("reallocation.statistics=training", "trainer.val_check_interval=0.5", "reallocation.max_rounds=2")
    with pytest.raises(ValueError, match=r"set trainer.val_check_interval=1.0 or reallocation.statistics=pass"):
        train(compose_run(tmp_path / "run", tiny_text, *overrides))


def test_an_unmeasured_move_takes_no_second_pass(tiny_text, tmp_path, monkeypatch):
    monkeypatch.setattr(moving, "mean_nll_by_axis", lambda *_: pytest.fail("a pass"))
    overrides = ("reallocation.measure=false", "reallocation.max_rounds=2", "reallocation.epochs_per_round=1")
    facts = train(compose_run(tmp_path / "run", tiny_text, *FEW, *overrides))["rounds"][0]["reallocation"]
    assert facts["nll_measured"] is None and facts["words_moved"] > 0


def test_a_solver_that_cannot_take_the_table_says_so_before_training(tiny_text, tmp_path, watched):
    with pytest.raises(ValueError, match=r"solver=exact would need .* GiB .* use solver=auction"):
        train(compose_run(tmp_path / "run", tiny_text, *FEW, "solver=exact", "solver.memory_limit_gib=1e-9"))
    assert not watched["validations"]


@pytest.mark.parametrize("choice", ["keep", "rebuild"])
def test_the_optimiser_state_is_kept_or_rebuilt(choice, watched, tiny_text, tmp_path):
    train(
        compose_run(
            tmp_path / "run",
            tiny_text,
            *FEW,
            *("+optimizer.momentum=0.9", f"reallocation.optimizer_state={choice}"),
            *("reallocation.max_rounds=2", "reallocation.epochs_per_round=1"),
        )
    )
    momenta = watched["moved"][0]["momenta"]
    assert bool(momenta) == (choice == "keep")
    assert all(momentum.abs().sum() > 0 for momentum in momenta)


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        pytest.param(
            ["reallocation.max_rounds=3", "reallocation.epochs_per_round=2"], [2, 2, 2], id="epochs_per_round"
        ),
        # Nothing is learnt at rate 0, so every validation after a round's first is without a gain.
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
            ["reallocation.max_rounds=3", "reallocation.epochs_per_round=[1,2]"], [1, 2, 2], id="a length each"
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
def test_what_ends_rounds_and_training(overrides, epochs, tiny_text, tmp_path):
    metrics = train(compose_run(tmp_path / "run", tiny_text, *FEW, *overrides))
    assert metrics["status"] == "completed"
    assert [done["epochs"] for done in metrics["rounds"]] == epochs
    assert [done["round"] for done in metrics["rounds"]] == list(range(1, len(epochs) + 1))
    assert ["reallocation" in done for done in metrics["rounds"]] == [True] * (len(epochs) - 1) + [False]
    assert len(metrics["history"]) == sum(epochs)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reallocation.max_rounds=0", "reallocation.max_rounds must be a whole number of at least 1, got 0"),
        ("reallocation.patience=0", "reallocation.patience must be a whole number of at least 1, got 0"),
        ("reallocation.epochs_per_round=0", "epochs_per_round must be a whole number .* or null, got 0"),
        ("reallocation.epochs_per_round=[2,0]", r"epochs_per_round must be .* got \[2, 0\]"),
        ("reallocation.statistics=none", "reallocation.statistics is pass or training, got 'none'"),
        ("reallocation.storage=disk", "reallocation.storage is auto or hidden or scores, got 'disk'"),
        ("reallocation.optimizer_state=maybe", "reallocation.optimizer_state is keep or rebuild, got 'maybe'"),
    ],
)
def test_bad_settings_are_named(override, message, tiny_text, tmp_path):
    config = compose_run(tmp_path / "run", tiny_text, override)
    with pytest.raises(ValueError, match=message):
        instantiate(config.bootstrap, schedule=instantiate(config.schedule))
