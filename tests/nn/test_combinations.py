"""All combinations of embeddings, outputs and losses: either a training step and an evaluation, or a clear error."""

import copy
import functools
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


@functools.cache
def composed(*overrides: str):
    return compose_overrides("model.hidden_dim=40", "model.num_layers=1", *overrides)


def build(embedding: str, output: str, components: int, *overrides: str):
    # Composing takes most of the time of this test, so each option is composed once, and keys are set in a copy.
    chosen = {"embedding": embedding, "output": output, "loss": "exact"}
    chosen |= dict(
        override.removeprefix("model/").split("=") for override in overrides if override.startswith("model/")
    )
    config = copy.deepcopy(composed())
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


@pytest.mark.parametrize("components", [1, 2, 3])
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


def test_all_strategies_of_the_configuration_are_combined():
    assert {"adaptive", "full", "multi_component", "slim", "hashed", "projected", "char_cnn"} == set(EMBEDDINGS)
    row_word = {"row_word", *(f"row_word_{vectors}" for vectors in SOFTMAX if vectors != "slim")}
    assert {*SOFTMAX, *row_word, "multi_component", "hierarchical", "adaptive"} == set(OUTPUTS)
    assert {"exact", "nce", "importance_sampling", "blackout"} == set(LOSSES)
