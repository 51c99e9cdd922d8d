"""New words in models with a vector per word: probabilities before and after, chosen rows, and errors."""

import copy

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import as_config, build_model
from lightrnn_pl.data.batches import StreamBatches
from lightrnn_pl.inference.new_word_vectors import add_word_vectors, check_own_vectors
from lightrnn_pl.inference.vocabulary_growth import extended_vocabulary
from lightrnn_pl.nn.outputs.row_word import RowWordOutput
from lightrnn_pl.vocabulary import Vocabulary
from tests.composition import composed

OLD = ("<unk>", *(f"w{number:02d}" for number in range(30)))
NEW = ("new", "rare", "once")
SIZES = ("model.hidden_dim=8", "model.num_layers=1", "model.init_scale=0.9")
ADAPTIVE = ("model=row_word_adaptive", "model.cutoffs=[4,12]", "model.div_value=2.0")
MODELS = {
    "full": ("model=full",),
    "full, tied": ("model=full", "model.tied=true"),
    "projected": ("model=projected", "model.embedding.projection_dim=3", "model.output.projection_dim=3"),
    "rows": ADAPTIVE,
    "rows, tied": (*ADAPTIVE, "model.tied=true"),
    "rows, two steps": (*ADAPTIVE, "model.steps_per_word=2"),
    "rows of full vectors": ("model=row_word", "model/embedding=full", "model/output=row_word_full"),
    "rows by frequency": (*ADAPTIVE, "model.row_sizes=[4,8,12]"),
    "adaptive vectors": ("model=full", "model/embedding=adaptive", "model/output=adaptive_vectors"),
}
FROM_UNKNOWN = ("full", "full, tied", "projected")


def model_config(*overrides: str):
    """The configuration of a model as it is stored in a bundle."""
    config = composed("train", *overrides, *SIZES)
    return as_config({"model": OmegaConf.to_container(config.model, resolve=True)})


def text() -> str:
    """New words in the context of others, some of which are often followed by the unknown word."""
    generator = np.random.default_rng(0)
    words = generator.choice([*OLD, "never"], 300).tolist()
    for position in range(0, 300, 10):
        words[position : position + 2] = ["w03", "new"] if position % 20 else ["w07", "rare"]
    return " ".join([*words, "once", "never"])


@pytest.fixture(params=MODELS)
def case(request):
    return request.param, model_config(*MODELS[request.param])


@pytest.fixture
def grown(case):
    """Name, the model before, the larger model, the counts of the text, and its batches."""
    name, config = case
    torch.manual_seed(1)
    vocabulary = Vocabulary(OLD, range(len(OLD), 0, -1), unknown="<unk>")
    if config.model.components == 1:
        allocation = WordAllocation.in_order(len(OLD), (len(OLD),))
    else:
        sides = (6, 8)
        order = torch.randperm(len(OLD))
        allocation = WordAllocation(torch.stack(torch.unravel_index(order, sides), -1), sides)
    model = build_model(config, allocation, vocabulary).double().eval()
    check_own_vectors(model, vocabulary)
    larger = extended_vocabulary(vocabulary, NEW)
    counts = {word: text().split().count(word) for word in set(text().split())}
    batches = StreamBatches(larger.encode(text().split()), 2, 7, context=larger.context_id, drop_remainder=False)
    before = copy.deepcopy(model.state_dict())
    after, after_config = add_word_vectors(model, config, larger, counts, batches)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    again = build_model(after_config, after.allocation, larger, initialize=False)
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in after.state_dict().items()
    }
    return name, model, after.double(), counts, batches


@torch.no_grad()
def word_log_probabilities(model, words: list[int]) -> torch.Tensor:
    """Log-probability of every word at the start of a text after each of ``words``, one target at a time: (N, V)."""
    read, number = torch.tensor(words)[:, None], model.allocation.num_words
    return torch.cat([model.score(read, torch.full_like(read, word))[0] for word in range(number)], 1)


def test_probabilities_sum_to_one_and_those_of_old_words_stay(grown):
    name, before, after, counts, _ = grown
    words = [1, 5, 0, 29, 12]
    old, new = (word_log_probabilities(model, words).exp() for model in (before, after))
    torch.testing.assert_close(new.sum(-1), torch.ones(len(words), dtype=new.dtype))
    number = len(OLD)
    if name in FROM_UNKNOWN:
        torch.testing.assert_close(new[:, 1:number], old[:, 1:])
        torch.testing.assert_close(new[:, 0] + new[:, number:].sum(-1), old[:, 0])
        n_u = counts["<unk>"] + counts["never"]
        total = n_u + sum(counts[word] for word in NEW)
        for position, word in enumerate(NEW, start=number):
            torch.testing.assert_close(new[:, position], old[:, 0] * counts[word] / total)
    else:
        assert (new[:, number:] > 0).all() and not torch.allclose(new[:, 1:number], old[:, 1:])
        # Two old words of a row keep their ratio.
        if isinstance(after.output, RowWordOutput):
            codes = after.allocation.codes[:number, 0].tolist()
            pair = next([i, j] for i in range(number) for j in range(i) if codes[i] == codes[j])
            torch.testing.assert_close(new[:, pair[0]] / new[:, pair[1]], old[:, pair[0]] / old[:, pair[1]])


@torch.no_grad()
def test_rows_of_new_words_minimize_the_loss_of_predicting_them(grown):
    _, before, after, _, batches = grown
    if not isinstance(after.output, RowWordOutput):
        assert after.allocation.sides == (len(OLD) + len(NEW),)
        return
    number = len(OLD)
    assert torch.equal(after.allocation.codes[:number], before.allocation.codes)
    costs, state = torch.zeros(len(NEW), 6, dtype=torch.float64), None
    for batch in batches:
        read, targets = (ids.masked_fill(ids >= number, 0) for ids in (batch.inputs, batch.targets))
        hidden, state = before.hidden(read, targets, state, batch.reset)
        first = hidden.unflatten(1, (targets.shape[1], -1))[:, :, 0]
        losses = -before.output.row_logits(first.flatten(0, 1)).log_softmax(-1).view(*targets.shape, 6)
        for line, column in ((batch.targets >= number) & batch.mask).nonzero().tolist():
            costs[batch.targets[line, column] - number] += losses[line, column]
    has_words = torch.bincount(before.allocation.codes[:, 0].long(), minlength=6) > 0
    capacity = after.allocation.sides[1] - before.allocation.sides[1]
    cells = torch.arange(6)[has_words].repeat_interleave(capacity)
    rows, columns = linear_sum_assignment(costs[:, cells].numpy())
    chosen = after.allocation.codes[number:, 0].long()
    assert has_words[chosen].all()
    least = costs[:, cells].numpy()[rows, columns].sum()
    assert costs[torch.arange(len(NEW)), chosen].sum().item() == pytest.approx(least)


def test_other_models_are_refused():
    config = model_config("model=slim", "model.embedding.num_parts=2", "model.output.num_parts=2")
    vocabulary = Vocabulary(OLD, range(len(OLD), 0, -1), unknown="<unk>")
    model = build_model(config, WordAllocation.in_order(len(OLD), (len(OLD),)), vocabulary)
    with pytest.raises(ValueError, match="SlimEmbedding with SlimOutput cannot get vectors for new words; only model="):
        check_own_vectors(model, vocabulary)
    config = model_config("model=full")
    model = build_model(config, WordAllocation.in_order(len(OLD), (len(OLD),)), vocabulary)
    with pytest.raises(ValueError, match="new words start from the unknown word, but the vocabulary has none"):
        check_own_vectors(model, Vocabulary(OLD, range(len(OLD), 0, -1), unknown=None))
