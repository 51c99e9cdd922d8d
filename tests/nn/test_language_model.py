"""Language models compared with loops in float64; normalization, states, gradients and parameter counts."""

import copy
import itertools
import math

import pytest
import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides
from lightrnn_pl.nn.cores import GRUCore, LSTMCore, RNNCore
from lightrnn_pl.nn.embeddings import FullEmbedding, MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import FullOutput, MultiComponentOutput
from lightrnn_pl.testing.utilities import random_allocation


def multi_component(num_words: int, sides: tuple[int, ...], core=LSTMCore, layers: int = 1, seed: int = 0):
    torch.manual_seed(seed)
    allocation = WordAllocation.random(num_words, sides, seed=seed)
    embedding = MultiComponentEmbedding(allocation, 6)
    return (
        LanguageModel(embedding, core(6, 5, layers), MultiComponentOutput(allocation, 5), init_scale=0.8)
        .double()
        .eval()
    )


def full(num_words: int, seed: int = 0):
    torch.manual_seed(seed)
    allocation = WordAllocation.in_order(num_words, (num_words,))
    embedding = FullEmbedding(allocation, 6)
    return LanguageModel(embedding, LSTMCore(6, 5), FullOutput(allocation, 5), init_scale=0.8).double().eval()


MODELS = {
    "full": lambda: full(11),
    "k=1": lambda: multi_component(11, (11,)),
    "k=2, full table": lambda: multi_component(12, (3, 4)),
    "k=2, empty cells": lambda: multi_component(11, (4, 5)),
    "k=2, empty row": lambda: multi_component(5, (4, 3)),
    "k=3": lambda: multi_component(8, (2, 2, 2)),
    "k=3, empty cells": lambda: multi_component(11, (3, 2, 3)),
}


def next_word_probabilities(model: LanguageModel, history: list[int]) -> torch.Tensor:
    """P(w | history) of every word w, each computed as the true continuation."""
    num_words = model.allocation.num_words
    words = torch.tensor([[*history, word] for word in range(num_words)])
    with torch.no_grad():
        log_probabilities, _ = model.score(words[:, :-1], words[:, 1:])
    return log_probabilities[:, -1].exp()


def reallocate(allocation: WordAllocation, seed: int) -> None:
    """Assign every word to a random cell, including empty cells."""
    allocation.assign(random_allocation(allocation.num_words, allocation.sides, seed).codes.long())


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_sum_to_one_before_and_after_a_reallocation(name):
    model = MODELS[name]()
    for seed in range(3):
        for history in ([0], [3, 1, 4, 1]):
            assert next_word_probabilities(model, history).sum().item() == pytest.approx(1, abs=1e-12)
        reallocate(model.allocation, seed)


@pytest.mark.parametrize("core", [LSTMCore, GRUCore, RNNCore])
@pytest.mark.parametrize(("num_words", "sides"), [(11, (11,)), (11, (4, 5)), (12, (3, 4)), (11, (3, 2, 3))])
def test_equals_loops(core, num_words, sides):
    model = multi_component(num_words, sides, core=core, layers=2, seed=3)
    text = torch.randint(num_words, (9,), generator=torch.Generator().manual_seed(1)).tolist()
    words = torch.tensor([text])
    actual, _ = model.score(words[:, :-1], words[:, 1:])
    assert actual[0].tolist() == pytest.approx(log_probabilities_by_loops(model, text), abs=1e-10)


@pytest.mark.parametrize("components", [1, 2, 3])
def test_equals_loops_on_real_text_after_training_and_a_reallocation(components):
    from pydoc_data.topics import topics

    text = topics["assert"].split()[:150]
    words = sorted(set(text))
    ids = torch.tensor([[words.index(word) for word in text]])
    model = multi_component(len(words), balanced_sides(len(words), components)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for is_reallocated in (False, True):
        for _ in range(10):
            optimizer.zero_grad()
            model(ids[:, :-1], ids[:, 1:])[0].mean().backward()
            optimizer.step()
        actual, _ = model.score(ids[:, :-1], ids[:, 1:])
        assert actual[0].tolist() == pytest.approx(log_probabilities_by_loops(model, ids[0].tolist()), abs=1e-10)
        if not is_reallocated:
            reallocate(model.allocation, seed=1)


def log_probabilities_by_loops(model: LanguageModel, text: list[int]) -> list[float]:
    """Log-probabilities of text[1:], computed one code at a time, with masks from the list of all words."""
    allocation = model.allocation
    all_codes = [tuple(codes) for codes in allocation.codes.tolist()]
    sides = allocation.sides
    vectors = model.embedding.vectors.weight.tolist()
    state = None
    log_probabilities = []
    for previous, word in itertools.pairwise(text):
        total = 0.0
        for axis in range(len(sides)):
            read_axis = axis - 1 if axis else len(sides) - 1
            code = all_codes[word][axis - 1] if axis else all_codes[previous][-1]
            vector = torch.tensor([[vectors[sum(sides[:read_axis]) + code]]], dtype=torch.float64)
            carried = state if state is None or len(state) > 1 else state[0]
            hidden, after = model.core.layers(vector, carried)
            state = after if isinstance(after, tuple) else (after,)
            weights, biases = (parts[axis] for parts in model.output.axis_parameters())
            allowed = {other[axis] for other in all_codes if other[:axis] == all_codes[word][:axis]}
            logits = {
                c: sum(h * w for h, w in zip(hidden[0, 0].tolist(), weights[c].tolist(), strict=True))
                + biases[c].item()
                for c in allowed
            }
            total += logits[all_codes[word][axis]] - math.log(sum(math.exp(value) for value in logits.values()))
        log_probabilities.append(total)
    return log_probabilities


def test_one_code_per_word_equals_the_full_model():
    one_code, full_model = multi_component(11, (11,)), full(11)
    order = one_code.allocation.codes[:, 0].long()
    full_model.core.load_state_dict(one_code.core.state_dict())
    full_model.embedding.vectors.weight.data = one_code.embedding.vectors.weight.data[order]
    full_model.output.weight.data = one_code.output.weight.data[order]
    full_model.output.bias.data = one_code.output.bias.data[order]
    words = torch.randint(11, (3, 8))
    torch.testing.assert_close(
        one_code.score(words[:, :-1], words[:, 1:])[0], full_model.score(words[:, :-1], words[:, 1:])[0]
    )


@pytest.mark.parametrize("name", MODELS)
def test_two_windows_equal_one_long_window(name):
    model = MODELS[name]()
    words = torch.randint(model.allocation.num_words, (2, 9))
    whole, _ = model.score(words[:, :-1], words[:, 1:])
    first, state = model.score(words[:, :4], words[:, 1:5])
    second, _ = model.score(words[:, 4:-1], words[:, 5:], state, torch.tensor([False, False]))
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_reset_clears_the_state_of_the_selected_streams():
    model = MODELS["k=2, empty cells"]()
    words = torch.randint(11, (2, 9))
    _, state = model.score(words[:, :4], words[:, 1:5])
    fresh, _ = model.score(words[:, 4:-1], words[:, 5:])
    carried, _ = model.score(words[:, 4:-1], words[:, 5:], state)
    mixed, _ = model.score(words[:, 4:-1], words[:, 5:], state, torch.tensor([True, False]))
    torch.testing.assert_close(mixed, torch.stack([fresh[0], carried[1]]))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_match_finite_differences(name):
    model = MODELS[name]().train()
    words = torch.randint(model.allocation.num_words, (2, 4))
    loss = model(words[:, :-1], words[:, 1:])[0].sum()
    loss.backward()
    step = 1e-6
    for parameter in model.parameters():
        index = int(parameter.grad.abs().argmax())
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.view(-1)[index] += sign * step
                losses.append(model(words[:, :-1], words[:, 1:])[0].sum().item())
                parameter.view(-1)[index] -= sign * step
        slope = (losses[0] - losses[1]) / (2 * step)
        assert parameter.grad.view(-1)[index].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


def shares_allocation(model: LanguageModel) -> bool:
    return model.embedding.allocation is model.output.allocation is model.allocation


def test_embedding_and_output_always_share_one_allocation():
    model = MODELS["k=2, empty cells"]()
    copied = copy.deepcopy(model)
    assert shares_allocation(copied) and copied.allocation is not model.allocation
    assert shares_allocation(copied.to(torch.float32)) and shares_allocation(copied.to("cpu"))
    reallocate(model.allocation, 5)
    assert copied.allocation.fingerprint() != model.allocation.fingerprint()
    copied.double().load_state_dict(model.state_dict())
    assert shares_allocation(copied)
    assert copied.allocation.fingerprint() == model.allocation.fingerprint()
    torch.testing.assert_close(next_word_probabilities(copied, [1, 2]), next_word_probabilities(model, [1, 2]))


def test_two_allocations_are_rejected():
    one, other = (WordAllocation.random(9, (3, 3), seed=seed) for seed in (0, 1))
    with pytest.raises(ValueError, match="share one WordAllocation"):
        LanguageModel(MultiComponentEmbedding(one, 4), LSTMCore(4, 4), MultiComponentOutput(other, 4))


def test_number_of_parameters_is_that_of_the_paper():
    # LightRNN's four matrices for V = 10,000 (section 3.1), two LSTM layers of 200, and the output biases.
    allocation = WordAllocation.in_order(10_000, balanced_sides(10_000, 2))
    model = LanguageModel(
        MultiComponentEmbedding(allocation, 200), LSTMCore(200, 200, 2), MultiComponentOutput(allocation, 200)
    )
    assert model.num_parameters == 2 * 2 * 100 * 200 + 2 * 100 + 2 * (2 * 200 * 800 + 2 * 800)
    assert model.num_bytes == {"parameters": 4 * model.num_parameters, "tables": 10_000 * 2 * 2}


def tiny(allocation: WordAllocation, **options: float) -> LanguageModel:
    parts = MultiComponentEmbedding(allocation, 4), LSTMCore(4, 4), MultiComponentOutput(allocation, 4)
    return LanguageModel(*parts, **options)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda table: FullOutput(table, 4), "model.components=1"),
        (
            lambda table: MultiComponentEmbedding(table, 0),
            r"model.embedding_dim \(by default model.hidden_dim\) must be .* got 0",
        ),
        (
            lambda table: MultiComponentEmbedding(table, -4),
            r"model.hidden_dim\) must be .* greater than or equal to 1, got -4",
        ),
        (
            lambda table: MultiComponentOutput(table, 0),
            "model.hidden_dim must be an integer greater than or equal to 1, got 0",
        ),
        (lambda table: LSTMCore(4, 0), "model.hidden_dim must be an integer greater than or equal to 1, got 0"),
        (lambda table: LSTMCore(4, True), "model.hidden_dim must be an integer greater than or equal to 1, got True"),
        (lambda table: LSTMCore(4, 4, 0), "model.num_layers must be an integer greater than or equal to 1, got 0"),
        (lambda table: LSTMCore(4, 4, 2, 1.5), "model.dropout must be a probability"),
        (lambda table: tiny(table, input_dropout=1.5), "model.input_dropout must be a probability below 1, got 1.5"),
        (
            lambda table: tiny(table, output_dropout=-0.1),
            "model.output_dropout must be a probability below 1, got -0.1",
        ),
    ],
)
def test_invalid_arguments_are_rejected(build, message):
    with pytest.raises(ValueError, match=message):
        build(WordAllocation.in_order(9, (3, 3)))
