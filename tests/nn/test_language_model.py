"""Every model against plain loops in float64, and against the axioms of probability."""

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
    """P(w | history) of every word w, each scored as the true continuation."""
    num_words = model.allocation.num_words
    words = torch.tensor([[*history, word] for word in range(num_words)])
    with torch.no_grad():
        scores, _ = model.score(words[:, :-1], words[:, 1:])
    return scores[:, -1].exp()


def scatter_words(allocation: WordAllocation, seed: int) -> None:
    """Move every word to a random cell, empty cells too."""
    cells = torch.randperm(math.prod(allocation.sides), generator=torch.Generator().manual_seed(seed))
    codes = torch.stack(torch.unravel_index(cells[: allocation.num_words], allocation.sides), -1)
    allocation.assign(codes)


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_sum_to_one_before_and_after_words_move(name):
    model = MODELS[name]()
    for seed in range(3):
        for history in ([0], [3, 1, 4, 1]):
            assert next_word_probabilities(model, history).sum().item() == pytest.approx(1, abs=1e-12)
        scatter_words(model.allocation, seed)


@pytest.mark.parametrize("core", [LSTMCore, GRUCore, RNNCore])
@pytest.mark.parametrize(("num_words", "sides"), [(11, (11,)), (11, (4, 5)), (12, (3, 4)), (11, (3, 2, 3))])
def test_equals_plain_loops(core, num_words, sides):
    model = multi_component(num_words, sides, core=core, layers=2, seed=3)
    text = torch.randint(num_words, (9,), generator=torch.Generator().manual_seed(1)).tolist()
    words = torch.tensor([text])
    scores, _ = model.score(words[:, :-1], words[:, 1:])
    assert scores[0].tolist() == pytest.approx(loop_scores(model, text), abs=1e-10)


@pytest.mark.parametrize("components", [1, 2, 3])
def test_equals_plain_loops_on_real_text_after_training_and_a_move(components):
    from pydoc_data.topics import topics

    text = topics["assert"].split()[:150]
    words = sorted(set(text))
    ids = torch.tensor([[words.index(word) for word in text]])
    model = multi_component(len(words), balanced_sides(len(words), components)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for moved in (False, True):
        for _ in range(10):
            optimizer.zero_grad()
            model(ids[:, :-1], ids[:, 1:])[0].mean().backward()
            optimizer.step()
        scores, _ = model.score(ids[:, :-1], ids[:, 1:])
        assert scores[0].tolist() == pytest.approx(loop_scores(model, ids[0].tolist()), abs=1e-10)
        if not moved:
            scatter_words(model.allocation, seed=1)


def loop_scores(model: LanguageModel, text: list[int]) -> list[float]:
    """Log-probabilities of text[1:], one step and one code at a time, masks from the list of words."""
    allocation = model.allocation
    spelling = [tuple(codes) for codes in allocation.codes.tolist()]
    sides = allocation.sides
    vectors = model.embedding.vectors.weight.tolist()
    state = None
    scores = []
    for previous, word in itertools.pairwise(text):
        total = 0.0
        for axis in range(len(sides)):
            read_axis = axis - 1 if axis else len(sides) - 1
            code = spelling[word][axis - 1] if axis else spelling[previous][-1]
            vector = torch.tensor([[vectors[sum(sides[:read_axis]) + code]]], dtype=torch.float64)
            carried = state if state is None or len(state) > 1 else state[0]
            hidden, after = model.core.layers(vector, carried)
            state = after if isinstance(after, tuple) else (after,)
            weights, biases = (parts[axis] for parts in model.output.axis_parameters())
            possible = {other[axis] for other in spelling if other[:axis] == spelling[word][:axis]}
            raw = {
                c: sum(h * w for h, w in zip(hidden[0, 0].tolist(), weights[c].tolist(), strict=True))
                + biases[c].item()
                for c in possible
            }
            total += raw[spelling[word][axis]] - math.log(sum(math.exp(value) for value in raw.values()))
        scores.append(total)
    return scores


def test_one_code_equals_the_full_model():
    one, ordinary = multi_component(11, (11,)), full(11)
    order = one.allocation.codes[:, 0].long()
    ordinary.core.load_state_dict(one.core.state_dict())
    ordinary.embedding.vectors.weight.data = one.embedding.vectors.weight.data[order]
    ordinary.output.weight.data = one.output.weight.data[order]
    ordinary.output.bias.data = one.output.bias.data[order]
    words = torch.randint(11, (3, 8))
    torch.testing.assert_close(
        one.score(words[:, :-1], words[:, 1:])[0], ordinary.score(words[:, :-1], words[:, 1:])[0]
    )


@pytest.mark.parametrize("name", MODELS)
def test_two_windows_equal_one(name):
    model = MODELS[name]()
    words = torch.randint(model.allocation.num_words, (2, 9))
    whole, _ = model.score(words[:, :-1], words[:, 1:])
    first, state = model.score(words[:, :4], words[:, 1:5])
    second, _ = model.score(words[:, 4:-1], words[:, 5:], state, torch.tensor([False, False]))
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_reset_starts_only_the_marked_streams_over():
    model = MODELS["k=2, empty cells"]()
    words = torch.randint(11, (2, 9))
    _, state = model.score(words[:, :4], words[:, 1:5])
    fresh, _ = model.score(words[:, 4:-1], words[:, 5:])
    carried, _ = model.score(words[:, 4:-1], words[:, 5:], state)
    mixed, _ = model.score(words[:, 4:-1], words[:, 5:], state, torch.tensor([True, False]))
    torch.testing.assert_close(mixed, torch.stack([fresh[0], carried[1]]))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_finite_differences(name):
    model = MODELS[name]().train()
    words = torch.randint(model.allocation.num_words, (2, 4))
    loss = model(words[:, :-1], words[:, 1:])[0].sum()
    loss.backward()
    step = 1e-6
    for parameter in model.parameters():
        place = int(parameter.grad.abs().argmax())
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.view(-1)[place] += sign * step
                ends.append(model(words[:, :-1], words[:, 1:])[0].sum().item())
                parameter.view(-1)[place] -= sign * step
        slope = (ends[0] - ends[1]) / (2 * step)
        assert parameter.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


def shares_one_table(model: LanguageModel) -> bool:
    return model.embedding.allocation is model.output.allocation is model.allocation


def test_embedding_and_output_share_one_table_whatever_happens():
    model = MODELS["k=2, empty cells"]()
    twin = copy.deepcopy(model)
    assert shares_one_table(twin) and twin.allocation is not model.allocation
    assert shares_one_table(twin.to(torch.float32)) and shares_one_table(twin.to("cpu"))
    scatter_words(model.allocation, 5)
    assert twin.allocation.fingerprint() != model.allocation.fingerprint()
    twin.double().load_state_dict(model.state_dict())
    assert shares_one_table(twin)
    assert twin.allocation.fingerprint() == model.allocation.fingerprint()
    torch.testing.assert_close(next_word_probabilities(twin, [1, 2]), next_word_probabilities(model, [1, 2]))


def test_two_tables_are_refused():
    one, other = (WordAllocation.random(9, (3, 3), seed=seed) for seed in (0, 1))
    with pytest.raises(ValueError, match="share one WordAllocation"):
        LanguageModel(MultiComponentEmbedding(one, 4), LSTMCore(4, 4), MultiComponentOutput(other, 4))


def test_counts_parameters_as_the_paper_does():
    # LightRNN's four matrices for V = 10,000 (section 3.1), two LSTM layers of 200, and the output biases.
    allocation = WordAllocation.in_order(10_000, balanced_sides(10_000, 2))
    model = LanguageModel(
        MultiComponentEmbedding(allocation, 200), LSTMCore(200, 200, 2), MultiComponentOutput(allocation, 200)
    )
    assert model.num_parameters == 2 * 2 * 100 * 200 + 2 * 100 + 2 * (2 * 200 * 800 + 2 * 800)
    assert model.num_bytes == {"parameters": 4 * model.num_parameters, "tables": 10_000 * 2 * 2}


def tiny(table: WordAllocation, **options: float) -> LanguageModel:
    return LanguageModel(MultiComponentEmbedding(table, 4), LSTMCore(4, 4), MultiComponentOutput(table, 4), **options)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda table: FullOutput(table, 4), "model.components=1"),
        (
            lambda table: MultiComponentEmbedding(table, 0),
            r"model.embedding_dim \(by default model.hidden_dim\) must be .* got 0",
        ),
        (lambda table: MultiComponentEmbedding(table, -4), r"model.hidden_dim\) must be .* at least 1, got -4"),
        (lambda table: MultiComponentOutput(table, 0), "model.hidden_dim must be a whole number of at least 1, got 0"),
        (lambda table: LSTMCore(4, 0), "model.hidden_dim must be a whole number of at least 1, got 0"),
        (lambda table: LSTMCore(4, True), "model.hidden_dim must be a whole number of at least 1, got True"),
        (lambda table: LSTMCore(4, 4, 0), "model.num_layers must be a whole number of at least 1, got 0"),
        (lambda table: LSTMCore(4, 4, 2, 1.5), "model.dropout is a probability"),
        (lambda table: tiny(table, input_dropout=1.5), "model.input_dropout is a probability below 1, got 1.5"),
        (lambda table: tiny(table, output_dropout=-0.1), "model.output_dropout is a probability below 1, got -0.1"),
    ],
)
def test_impossible_sizes_are_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build(WordAllocation.in_order(9, (3, 3)))
