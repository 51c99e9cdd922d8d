"""All combinations of embeddings, outputs and losses: either a training step and an evaluation, or a clear error."""

import itertools
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

CONF = Path(__file__).parents[2] / "conf" / "model"
EMBEDDINGS, OUTPUTS, LOSSES = (
    sorted(path.stem for path in (CONF / group).glob("*.yaml")) for group in ("embedding", "output", "loss")
)
SOFTMAX = ("adaptive_vectors", "full", "hashed", "projected", "slim")
VOCABULARY = Vocabulary([f"w{number}" for number in range(40)], range(80, 40, -1))


def composed(*overrides: str):
    return compose_overrides("model.hidden_dim=40", "model.num_layers=1", *overrides)


def build(embedding: str, output: str, components: int, *overrides: str):
    # Each option is composed by itself, because composing every combination would take most of the time of this test.
    chosen = {"embedding": embedding, "output": output, "loss": "exact"}
    chosen |= dict(
        override.removeprefix("model/").split("=") for override in overrides if override.startswith("model/")
    )
    config = composed()
    for part, option in chosen.items():
        config.model[part] = composed(f"model/{part}={option}").model[part]
    for override in (f"model.components={components}", *overrides):
        key, _, value = override.partition("=")
        if key.startswith("model."):
            OmegaConf.update(config, key, yaml.safe_load(value), merge=False)
    torch.manual_seed(0)
    return build_model(config, build_allocation(config, VOCABULARY), VOCABULARY)


def step_and_evaluate(model) -> None:
    words = torch.randint(40, (3, 5), generator=torch.Generator().manual_seed(1))
    targets = words.roll(-1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters(remove_duplicate=False)}
    losses, state = model.train()(words, targets)
    assert losses.shape == words.shape and losses.isfinite().all()
    losses.sum().backward()
    optimizer.step()
    assert any(not torch.equal(before[name], parameter) for name, parameter in model.output.named_parameters("output"))
    assert any(
        not torch.equal(before[name], parameter) for name, parameter in model.embedding.named_parameters("embedding")
    )
    with torch.no_grad():
        log_probabilities, _ = model.eval().score(words, targets, state)
        assert (log_probabilities <= 0).all() and log_probabilities.isfinite().all()
        # The probabilities of all words after the same word sum to one.
        next_words = torch.arange(40)[:, None]
        total = model.score(torch.zeros_like(next_words), next_words)[0].exp().sum()
    assert total == pytest.approx(1, abs=1e-5)
    vectors = model.output.word_vectors()
    assert len(vectors) == 40 and vectors.isfinite().all() and len(vectors.unique(dim=0)) == 40


@pytest.mark.parametrize("components", [1, 2, pytest.param(3, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("embedding", "output"), itertools.product(EMBEDDINGS, OUTPUTS))
def test_embedding_with_output(embedding, output, components):
    if output.startswith("row_word"):
        if components != 2:
            with pytest.raises(ValueError, match=rf"each word has {components} codes; use model.components=2"):
                build(embedding, output, components)
            return
        if embedding != "multi_component":
            step_and_evaluate(build(embedding, output, 2, "model.steps_per_word=1"))
    elif output != "multi_component" and components > 1:
        with pytest.raises(ValueError, match=r"predicts a word in one step.*use model.components=1 or model/output="):
            build(embedding, output, components)
        return
    step_and_evaluate(build(embedding, output, components))


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_one_step_per_word_with_shared_columns(embedding):
    if embedding == "multi_component":
        with pytest.raises(ValueError, match=r"reads one code per step, but model.steps_per_word=1"):
            build(embedding, "multi_component", 2, "model.steps_per_word=1")
        return
    step_and_evaluate(build(embedding, "multi_component", 2, "model.steps_per_word=1"))


def test_steps_per_word_must_be_one_or_the_number_of_codes():
    with pytest.raises(ValueError, match=r"model.steps_per_word must be 1 or .*model.components=3.*, got 2"):
        build("full", "multi_component", 3, "model.steps_per_word=2")


@pytest.mark.parametrize(("output", "loss"), itertools.product(OUTPUTS, LOSSES))
def test_output_with_loss(output, loss):
    components = 2 if output.startswith("row_word") else 1
    if loss != "exact" and output not in SOFTMAX:
        with pytest.raises(ValueError, match="model/loss=exact"):
            build("full", output, components, f"model/loss={loss}")
        return
    step_and_evaluate(build("full", output, components, f"model/loss={loss}"))


TIED = {
    ("adaptive", "adaptive_vectors"): [],
    ("adaptive", "row_word_adaptive_vectors"): [],
    ("full", "full"): [],
    ("multi_component", "multi_component"): [],
    ("hashed", "hashed"): ["model.output.compression=0.1"],
    ("projected", "projected"): [],
    ("slim", "slim"): ["model.embedding.disjoint=true", "model.output.num_parts=10", "model.output.compression=0.1"],
    ("full", "projected"): ["model.output.projection_dim=40"],
    ("full", "row_word_full"): ["model.steps_per_word=1"],
    ("hashed", "row_word_hashed"): ["model.output.compression=0.1"],
    ("projected", "row_word_projected"): [],
    ("slim", "row_word"): ["model.steps_per_word=1", "model.embedding.disjoint=true"],
    ("full", "row_word_projected"): ["model.output.projection_dim=40"],
}
"""Pairs of embeddings and outputs that can be tied, with the settings that this requires."""


@pytest.mark.parametrize("model", ["slim", "hashed"])
@pytest.mark.parametrize("overrides", [(), ("model.embedding.disjoint=true",), ("model.embedding_dim=20",)])
def test_suggested_settings_are_sufficient_for_tying(model, overrides):
    if model == "hashed":
        overrides = tuple(override for override in overrides if "disjoint" not in override)
    with pytest.raises(ValueError, match=r"set model\.tied=false, or set ") as error:
        build(model, model, 1, "model.tied=true", *overrides)
    suggested = str(error.value).partition("or set ")[2].split()
    tied = build(model, model, 1, "model.tied=true", *overrides, *suggested)
    if "model.embedding_dim=20" not in overrides:  # the projection is larger than the shared vectors of so few words
        assert tied.num_parameters < build(model, model, 1, *overrides, *suggested).num_parameters
    # The same for a model with another embedding.
    with pytest.raises(ValueError, match=r"set model\.tied=false, or set ") as error:
        build("full", model, 1, "model.tied=true")
    embedding, *suggested = str(error.value).partition("or set ")[2].split()
    assert embedding == f"model/embedding={model}"
    build(model, model, 1, "model.tied=true", *suggested)


@pytest.mark.parametrize(("embedding", "output"), itertools.product(EMBEDDINGS, OUTPUTS))
def test_tied(embedding, output):
    components = 2 if output.startswith("row_word") else 1
    if (embedding, output) not in TIED:
        with pytest.raises(ValueError, match=r"set model\.tied=false"):
            build(embedding, output, components, "model.tied=true")
        return
    overrides = TIED[embedding, output]
    untied, tied = (build(embedding, output, components, f"model.tied={tied}", *overrides) for tied in (False, True))
    assert tied.num_parameters < untied.num_parameters
    step_and_evaluate(tied)


@pytest.mark.parametrize(
    ("embedding", "output"),
    [
        *(("full", "full"), ("slim", "slim"), ("adaptive", "adaptive_vectors"), ("full", "row_word_full")),
        *(("slim", "row_word"), ("adaptive", "row_word_adaptive_vectors")),
    ],
)
def test_tied_vectors_of_another_size_are_multiplied_by_projected_hidden_states(embedding, output):
    components = 2 if output.startswith("row_word") else 1
    overrides = [*TIED[embedding, output], "model.embedding_dim=20"]
    if embedding == "adaptive":
        overrides += ["model.embedding.cutoffs=[5]", "model.output.cutoffs=[5]"]
    model = build(embedding, output, components, "model.tied=true", *overrides)
    step_and_evaluate(model)
    inner = model.output.vectors if components == 2 else model.output
    num_words, hidden = model.allocation.num_words, torch.randn(3, 40, dtype=inner.bias.dtype)
    assert inner.tied_projection.shape == (20, 40) and bool((inner.tied_projection != 0).all())
    shared = model.embedding.word_vectors(torch.arange(num_words))
    expected = hidden @ inner.tied_projection.T @ shared.T + inner.bias
    torch.testing.assert_close(inner.logits(hidden), expected)
    torch.testing.assert_close(inner.traceable(10**9).module(hidden), expected.log_softmax(-1))
    words = torch.tensor([5, 0, 7])
    rows = model.allocation.codes[words, 0].long()
    logs = expected.log_softmax(-1)
    if components == 2:
        same = model.allocation.codes[:, 0].long() == rows[:, None]
        row_logs = model.output.row_logits(hidden).log_softmax(-1)
        logs = row_logs[torch.arange(3), rows, None] + expected.masked_fill(~same, -torch.inf).log_softmax(-1)
    steps = hidden[:, None].repeat(1, model.embedding.steps_per_word, 1)
    scores = model.output.log_probability(steps, words[:, None])[:, 0]
    torch.testing.assert_close(scores, logs[torch.arange(3), words])
    gradients, by_loop = (
        torch.autograd.grad(part.sum(), [inner.tied_projection, inner.bias])
        for part in (scores, logs[torch.arange(3), words])
    )
    torch.testing.assert_close(gradients, by_loop)


def test_all_strategies_of_the_configuration_are_combined():
    assert {"adaptive", "full", "multi_component", "slim", "hashed", "projected", "char_cnn"} == set(EMBEDDINGS)
    row_word = {"row_word", *(f"row_word_{vectors}" for vectors in SOFTMAX if vectors != "slim")}
    assert {*SOFTMAX, *row_word, "multi_component", "hierarchical", "adaptive"} == set(OUTPUTS)
    assert {"exact", "nce", "importance_sampling", "blackout"} == set(LOSSES)
