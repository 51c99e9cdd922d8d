"""Growing a vocabulary: chosen cells, a dense reference of the costs, probabilities, and errors."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.new_word_cells import grow_allocation, usable_cells
from lightrnn_pl.allocation.solvers import ExactSolver
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import as_config, build_model
from lightrnn_pl.data.batches import StreamBatches
from lightrnn_pl.evaluation.perplexity import mean_nll
from lightrnn_pl.inference.vocabulary_growth import (
    check_growable,
    choose_new_words,
    extended_vocabulary,
    filling_costs,
    grow_model,
    widen_model,
)
from lightrnn_pl.vocabulary import Vocabulary

PARTS = ("embedding", "output")

OLD = ("<unk>", "a", "b", "c", "d", "e", "f", "g", "h")
CODES = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0], [1, 2], [2, 1], [2, 3], [3, 3], [3, 0]])
"""Codes of the old words in an allocation of 4 x 4.  Seven cells are empty, at least one in every row."""


def config_of(core: str = "LSTMCore", embedding: str = "MultiComponentEmbedding", output: str = "MultiComponentOutput"):
    def part(name: str, folder: str, **settings):
        return {"_target_": f"lightrnn_pl.nn.{folder}.{name}", "_partial_": True, **settings}

    return as_config(
        {
            "model": {
                "embedding": part(embedding, "embeddings", embedding_dim=4),
                "core": part(core, "cores", hidden_dim=4),
                "output": part(output, "outputs"),
                "loss": part("ExactLoss", "losses"),
                "tied": False,
                "input_dropout": 0.5,
                "output_dropout": 0.5,
                "init_scale": 1.0,
            }
        }
    )


def build(config, codes=CODES, sides=(4, 4), words=OLD):
    torch.manual_seed(3)
    vocabulary = Vocabulary(words, range(len(words), 0, -1), unknown="<unk>")
    return build_model(config, WordAllocation(codes, sides), vocabulary).double().eval(), vocabulary


def batches_of(vocabulary: Vocabulary, text: str, streams: int = 2) -> StreamBatches:
    tokens = vocabulary.encode(text.split())
    return StreamBatches(tokens, streams, 5, context=vocabulary.context_id, drop_remainder=False)


def test_chooses_the_cell_that_fits_the_contexts():
    """A model whose state depends only on the last input: row 2 follows word a, and row 1 follows word h."""
    config = config_of("RNNCore")
    model, vocabulary = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        layers = model.core.layers
        layers.weight_ih_l0.copy_(3 * torch.eye(4))
        vectors, weight = model.embedding.vectors.weight, model.output.weight
        vectors[4 + 1, 0] = 1.0  # column 1, of word a, is input direction 0
        vectors[4 + 0, 1] = 1.0  # column 0, of word h, is input direction 1
        vectors[2, 2] = vectors[1, 3] = 1.0  # rows 2 and 1 are input directions 2 and 3
        weight[2, 0] = weight[1, 1] = 5.0
        weight[4 + 2, 2] = 5.0  # column 2 follows row 2, and column 3 follows row 1
        weight[4 + 3, 3] = 5.0
    grown = extended_vocabulary(vocabulary, ["next", "other"])
    batches = batches_of(grown, "a next c a next h other b a next h other")
    larger = grow_model(model, config, grown, batches)
    assert larger.allocation.codes[9:].tolist() == [[2, 2], [1, 3]]
    assert torch.equal(larger.allocation.codes[:9], model.allocation.codes)


TEXT = "a x b y c x d z a b x h y w c a z z f x e y w u u d v g x y b a v u c"


@pytest.fixture(scope="module")
def grown():
    """A random model and the same model with six new words."""
    config = config_of()
    model, vocabulary = build(config)
    before = copy.deepcopy(model.state_dict())
    larger_vocabulary = extended_vocabulary(vocabulary, ["x", "y", "z", "u", "v", "w"])
    batches = batches_of(larger_vocabulary, TEXT)
    larger = grow_model(model, config, larger_vocabulary, batches)
    return model, before, larger, larger_vocabulary, batches


@torch.no_grad()
def dense_costs(model, allocation, batches, axis: int, num_new: int) -> np.ndarray:
    """Losses of every code for every new word, computed token by token: the slow reference."""
    costs = np.zeros((num_new, 4))
    probe = WordAllocation(allocation.codes, (4, 4))
    streams: dict[int, list[tuple[int, int]]] = {}
    for inputs, targets, mask, _ in batches:
        for stream, position in mask.nonzero().tolist():
            streams.setdefault(stream, []).append((int(inputs[stream, position]), int(targets[stream, position])))
    for pairs in streams.values():
        state = None
        for word, target in pairs:
            column = int(probe.codes[word if word < 9 else 0, 1])
            row = int(probe.codes[target if target < 9 or axis == 1 else 0, 0])
            for step, vector in enumerate((4 + column, row)):
                hidden, state = model.core(model.embedding.vectors.weight[vector][None, None], state)
                if step == axis and target >= 9:
                    span = slice(4 * axis, 4 * axis + 4)
                    scores = model.output.weight[span] @ hidden[0, 0] + model.output.bias[span]
                    costs[target - 9] -= torch.log_softmax(scores, -1).numpy()
    return costs


def optimal_assignment(costs: np.ndarray, capacities: np.ndarray) -> np.ndarray:
    slots = np.repeat(np.arange(4), capacities)
    return slots[linear_sum_assignment(costs[:, slots])[1]]


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_a_wider_table_has_the_same_probabilities_and_mean_vectors(tied):
    config = config_of()
    config.model.tied = tied
    model, vocabulary = build(config)
    before = copy.deepcopy(model.state_dict())
    wider = widen_model(model, config, vocabulary, 3)
    assert wider.allocation.sides == (4, 7) and torch.equal(wider.allocation.codes, model.allocation.codes)
    text = torch.from_numpy(vocabulary.encode([*"abcdefgha"])).long()[None]
    for one, other in zip(*(m.score(text[:, :-1], text[:, 1:]) for m in (model, wider)), strict=True):
        torch.testing.assert_close(one, other)
    for part in ("embedding.vectors.weight", "output.weight", "output.bias"):
        old, new = before[part], wider.state_dict()[part]
        assert torch.equal(new[:8], old)
        torch.testing.assert_close(new[8:], old[4:].mean(0, keepdim=True).expand_as(new[8:]))
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())
    assert wider.output.weight is (wider.embedding.vectors.weight if tied else wider.output.weight)
    grown = extended_vocabulary(vocabulary, ["x", "y", "z", "u", "v", "w"])
    free = np.zeros((4, 7), dtype=bool)
    free[:, 4:] = True
    larger = grow_model(wider, config, grown, batches_of(grown, TEXT), free=free)
    assert (larger.allocation.codes[9:, 1] >= 4).all()
    totals = larger.score(torch.arange(15)[:, None] * 0, torch.arange(15)[:, None])[0].exp().sum()
    assert totals == pytest.approx(1.0)


class RecordingSolver(ExactSolver):
    """Records the costs of the problems it solves."""

    def __init__(self):
        super().__init__()
        self.costs = []

    def solve(self, problem):
        self.costs.append(problem.costs[0])
        return super().solve(problem)


def test_cells_and_costs_equal_the_dense_reference(grown):
    model, _, larger, vocabulary, batches = grown
    free = usable_cells(model.allocation)
    filling = np.where(free, filling_costs(model, batches, 0), 0.0)
    solver = RecordingSolver()
    again = grow_model(model, config_of(), vocabulary, batches, solver)
    assert torch.equal(again.allocation.codes, larger.allocation.codes)
    expected = dense_costs(model, larger.allocation, batches, 0, 6) + filling.sum(1) / free.sum(1)
    for costs in (expected, solver.costs[0]):
        costs -= costs.mean(1, keepdims=True)  # a constant cost per word does not affect the assignment
    np.testing.assert_allclose(solver.costs[0], expected, atol=1e-10)
    codes = larger.allocation.codes[9:].long().numpy()
    rows = optimal_assignment(expected, free.sum(1))
    assert rows.tolist() == codes[:, 0].tolist()
    costs = dense_costs(model, larger.allocation, batches, 1, 6)
    for row in set(rows.tolist()):
        members = np.flatnonzero(rows == row)
        columns = optimal_assignment(costs[members] + filling[row], free[row].astype(int))
        assert columns.tolist() == codes[members, 1].tolist()


def test_filling_cost_equals_the_increase_of_the_loss(grown):
    """If the new word does not occur, the loss increases by exactly the cost of filling its cell."""
    model, *_ = grown
    vocabulary = extended_vocabulary(Vocabulary(OLD, range(9), unknown="<unk>"), ["new"])
    batches = batches_of(vocabulary, "a b c d e f g h a c e g b d f h a a <unk> e d")
    costs = filling_costs(model, batches, 0)
    before = mean_nll(model, batches, torch.device("cpu"))
    for cell in np.argwhere(usable_cells(model.allocation)):
        table = grow_allocation(model.allocation, cell[None])
        larger = build_model(config_of(), table, vocabulary).double().eval()
        larger.load_state_dict({**model.state_dict(), **{f"{part}.allocation.codes": table.codes for part in PARTS}})
        after = mean_nll(larger, batches, torch.device("cpu"))
        assert 21 * (after - before) == pytest.approx(costs[tuple(cell)], rel=1e-9)


def test_existing_words_and_weights_do_not_change(grown):
    model, before, larger, vocabulary, _ = grown
    assert torch.equal(larger.allocation.codes[:9], before["embedding.allocation.codes"])
    assert vocabulary.words[:9] == OLD and vocabulary.counts[9:].tolist() == [0] * 6
    for name, part in model.state_dict().items():
        assert torch.equal(part, before[name])
        if not name.endswith("allocation.codes"):
            assert torch.equal(larger.state_dict()[name], part)
    assert larger.embedding.allocation is larger.output.allocation and not larger.training


@torch.no_grad()
def test_probabilities_sum_to_one_over_all_words(grown):
    model, _, larger, vocabulary, _ = grown
    for each, size in ((model, 9), (larger, len(vocabulary))):
        words = torch.full((size, 1), 4)
        _, state = each.score(words, torch.full((size, 1), 2))
        scores, _ = each.score(words, torch.arange(size)[:, None], state)
        assert scores.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_adds_the_most_frequent_words():
    model, vocabulary = build(config_of())
    counts = {"a": 50, "x": 2, "y": 9, "z": 2, "rare": 1, **{f"n{number}": 3 for number in range(5)}}
    new, left = choose_new_words(counts, vocabulary, model.allocation)
    assert list(new) == ["y", "n0", "n1", "n2", "n3", "n4", "x"] and left == {"z": 2}
    new, left = choose_new_words(counts, vocabulary, model.allocation, min_count=3, max_words=1)
    assert new == {"y": 9} and list(left) == ["n0", "n1", "n2", "n3", "n4"]
    with pytest.raises(ValueError, match="none of which occurs at least min_count=10 times"):
        choose_new_words(counts, vocabulary, model.allocation, min_count=10)
    with pytest.raises(ValueError, match="max_words must be an integer"):
        choose_new_words(counts, vocabulary, model.allocation, max_words=0)


def test_grows_a_model_with_three_codes_per_word():
    config = config_of()
    codes = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]])
    model, vocabulary = build(config, codes, (2, 2, 2), OLD[:6])
    larger_vocabulary = extended_vocabulary(vocabulary, ["x", "y"])
    larger = grow_model(model, config, larger_vocabulary, batches_of(larger_vocabulary, "a x b y x c d y y a x"))
    assert sorted(larger.allocation.codes[6:].tolist()) == [[0, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    ("parts", "codes", "sides", "message"),
    [
        ({"embedding": "FullEmbedding"}, CODES, (4, 4), "FullEmbedding with MultiComponentOutput has no vectors"),
        ({}, CODES[:, :0].new_tensor([[n] for n in range(9)]), (9,), "components=2"),
        ({}, WordAllocation.in_order(9, (3, 3)).codes, (3, 3), "has no empty cell; .*model.sides"),
        ({}, WordAllocation.in_order(9, (4, 3)).codes, (4, 3), "has 3 empty cells, but all in rows or columns without"),
    ],
)
def test_rejects_models_without_usable_cells(parts, codes, sides, message):
    model, vocabulary = build(config_of(**parts), codes, sides)
    with pytest.raises(ValueError, match=message):
        check_growable(model, vocabulary)


def test_requires_an_unknown_word():
    model, _ = build(config_of())
    with pytest.raises(ValueError, match=r"data\.vocabulary\.unknown"):
        check_growable(model, Vocabulary(OLD, range(9)))
