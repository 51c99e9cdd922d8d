"""Distillation compared with autograd over the whole vocabulary, and in runs."""

import pytest
import torch

from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.training.distillation import Distillation, distillation_losses
from lightrnn_pl.training.experiment import train
from tests.training import runs
from tests.training.runs import compose_run
from tests.training.states import assert_same_bits, last_state
from tests.training.tiny_fit import VOCABULARY, batches, build_module, compose_tiny

TEACHER = ("model=full", "model.hidden_dim=12", "model.num_layers=1")


def build(*overrides: str):
    torch.manual_seed(1)
    config = compose_tiny("model.init_scale=0.8", *overrides)
    return build_model(config, build_allocation(config, VOCABULARY), VOCABULARY).double().eval()


def all_log_probabilities(model, words, targets) -> torch.Tensor:
    """Log-probability of every word at every position, (B, T, V), with one pass per word of the vocabulary.

    Targets are read only within their own position: position t is that of a window that ends with another word.
    """
    columns = []
    for position in range(words.shape[1]):
        read, truth = words[:, : position + 1], targets[:, : position + 1]
        scores = []
        for word in range(model.allocation.num_words):
            candidate = torch.cat([truth[:, :-1], torch.full_like(truth[:, -1:], word)], 1)
            scores.append(model.score(read, candidate)[0][:, -1])
        columns.append(torch.stack(scores, -1))
    return torch.stack(columns, 1)


def reference(student, words, targets, teacher: torch.Tensor, weight: float) -> torch.Tensor:
    """The loss by loops over words, from distributions over the vocabulary; (B, T)."""
    logs = all_log_probabilities(student, words, targets)
    codes = student.allocation.codes.long()
    losses = []
    for row, (row_logs, row_targets) in enumerate(zip(logs, targets, strict=True)):
        for column, (own, target) in enumerate(zip(row_logs, row_targets.tolist(), strict=True)):
            total = -(1 - weight) * own[target]
            candidates = torch.ones(len(codes), dtype=torch.bool)
            for axis in range(codes.shape[1]):
                # Given the codes before: those of the words that share them with the target.
                p, q = teacher[row, column], own.exp()
                for code in codes[candidates, axis].unique():
                    chosen = candidates & (codes[:, axis] == code)
                    share = p[chosen].sum() / p[candidates].sum()
                    total = total - weight * share * (q[chosen].sum() / q[candidates].sum()).log()
                candidates = candidates & (codes[:, axis] == codes[target, axis])
            losses.append(total)
    return torch.stack(losses).view(targets.shape)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["model=full"], id="full"),
        pytest.param(["model=slim", "model.components=1"], id="slim"),
        pytest.param(["model.sides=[6,8]", "model.hidden_dim=10"], id="lightrnn, two half-steps, empty cells"),
        pytest.param(["model.components=3", "model.hidden_dim=10"], id="cube"),
        pytest.param(["model=row_word"], id="row and word, one step"),
        pytest.param(["model=row_word", "model.steps_per_word=2", "model.sides=[5,9]"], id="row and word, two steps"),
        pytest.param(["model=row_word_adaptive", "model.cutoffs=[5,20]"], id="row and word, adaptive"),
    ],
)
def test_loss_and_gradients_equal_a_loop_over_the_vocabulary(overrides):
    batch = next(iter(batches()))
    words, targets = batch.inputs[:2, :3], batch.targets[:2, :3]
    teacher = build("model=full", "model.hidden_dim=8")
    with torch.no_grad():
        probabilities = all_log_probabilities(teacher, words, targets).exp()
        hidden, _ = teacher.hidden(words, targets)
        fast = teacher.output.log_probabilities(hidden.flatten(0, 1)).exp().view_as(probabilities)
    assert torch.allclose(fast, probabilities)
    student = build(*overrides)
    parameters = list(student.parameters())
    for weight in (0.0, 0.3, 1.0):
        hidden, _ = student.hidden(words, targets)
        losses, nll = distillation_losses(student.output, hidden, targets, probabilities.flatten(0, 1), weight)
        expected = reference(student, words, targets, probabilities, weight)
        assert torch.allclose(losses, expected)
        assert torch.allclose(nll, -student.score(words, targets)[0]) and not nll.requires_grad
        factors = torch.linspace(0.5, 2, losses.numel()).view_as(losses)
        gradients, by_loop = (
            torch.autograd.grad((part * factors).sum(), parameters, materialize_grads=True)
            for part in (losses, expected)
        )
        for gradient, other in zip(gradients, by_loop, strict=True):
            assert torch.allclose(gradient, other)


@pytest.fixture(scope="module")
def teacher(tiny_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(compose_run(folder, tiny_text, *TEACHER, "trainer.max_epochs=1"))
    return folder


def test_a_killed_run_ends_bit_identical(teacher, tiny_text, tmp_path):
    overrides = (f"teacher={teacher}", "trainer.max_epochs=2", "resume_point.every_steps=10")
    overrides += ("reallocation.max_rounds=2", "reallocation.epochs_per_round=1")
    before = torch.load(teacher / "best.ckpt", weights_only=True)
    whole = train(compose_run(tmp_path / "whole", tiny_text, *overrides))
    runs.kill_run("step=35", tmp_path / "run", tiny_text, *overrides)
    resumed = train(compose_run(tmp_path / "run", tiny_text, *overrides))
    assert_same_bits(last_state(tmp_path / "run"), last_state(tmp_path / "whole"))
    assert resumed["test"] == whole["test"] and len(whole["rounds"]) == 2
    assert torch.load(teacher / "best.ckpt", weights_only=True)["weights"] == before["weights"]
    without = train(compose_run(tmp_path / "without", tiny_text, "trainer.max_epochs=1", *overrides[3:]))
    assert without["test"] != whole["test"] and without["parameters"] == whole["parameters"]
    state = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)
    assert state["teacher_state"] is not None
    assert not any("distillation" in name for name in state["state_dict"])
    assert load(tmp_path / "whole").model.num_parameters == whole["parameters"]


def test_the_log_contains_the_negative_log_likelihood(teacher, tiny_text):
    """``train/nll`` is that of the true words; the loss that is minimized has another name."""
    module = build_module(compose_tiny("model=full"))
    bundle = load(teacher)
    small = build("model=full", "model.hidden_dim=8").float()
    module._distillation = Distillation(Bundle(small, VOCABULARY, bundle.config, {}), 0.4)
    values = {}
    module.log = lambda name, value, **options: values.__setitem__(name, float(value))
    batch = next(iter(batches()))
    module.training_step(batch, 0)
    scores, _ = module.model.score(batch.inputs, batch.targets)
    assert values["train/nll"] == pytest.approx(-float(scores.detach().mean()), rel=1e-5)
    assert values["train/distillation"] != pytest.approx(values["train/nll"], rel=1e-3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.vocabulary.min_count=20"], "teacher has another vocabulary (4"),
        (["model=full", "model/loss=nce"], "teacher requires the probabilities of all words, which NceLoss"),
        (["model=hierarchical"], "teacher cannot be used with HierarchicalOutput"),
        (["teacher_weight=2"], "teacher_weight must be a number from 0 to 1, got 2"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(overrides, message, teacher, tiny_text, tmp_path, monkeypatch):
    monkeypatch.setattr("lightrnn_pl.training.experiment._assign_initial_allocation", None)
    with pytest.raises(ValueError) as caught:
        train(compose_run(tmp_path / "run", tiny_text, f"teacher={teacher}", *overrides))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_teacher_with_several_codes_is_refused(tiny_text, tmp_path):
    train(compose_run(tmp_path / "codes", tiny_text, "trainer.max_steps=1"))
    with pytest.raises(ValueError, match=r"teacher has 2 codes per word.*model=full"):
        train(compose_run(tmp_path / "run", tiny_text, f"teacher={tmp_path / 'codes'}"))
    assert not (tmp_path / "run" / "config.yaml").exists()
