"""Character convolution compared with loops over characters and windows, and the cache of vectors in evaluation."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.nn.characters import spell
from lightrnn_pl.nn.embeddings import CharCNNEmbedding
from lightrnn_pl.testing.embedding import EmbeddingContract
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

WORDS = ["<eos>", "a", "<unk>", "banana", "nab", "ab", "aaaa", "bandana", "é", "<eo", "nanny", "unk"]


def vocabulary_of(num_words):
    words = (WORDS + [f"w{number}" for number in range(num_words)])[:num_words]
    markers = {"end": "<eos>", "unknown": "<unk>" if num_words > 2 else None}
    return Vocabulary(words, range(num_words, 0, -1), **markers)


def symbols_of(word, vocabulary, max_word_length):
    """The symbols of a word, by definition."""
    inner = [("marker", word)] if word in (vocabulary.unknown, vocabulary.end) else list(word[:max_word_length])
    return ["begin", *inner, "end"]


def ids_of(vocabulary, max_word_length):
    """The ids of all symbols: characters in alphabetical order, then begin, end and the markers."""
    markers = sorted({vocabulary.unknown, vocabulary.end} - {None})
    truncated = [word[:max_word_length] for word in vocabulary.words if word not in markers]
    symbols = [*sorted(set("".join(truncated))), "begin", "end", *(("marker", marker) for marker in markers)]
    return {symbol: number for number, symbol in enumerate(symbols)}


class CharCNNContract(EmbeddingContract):
    has_uniform_initialization = False  # due to the biases of the gates
    bfloat16_tolerance = 0.5
    widths = (1, 2, 4)
    features = (2, 3, 2)
    char_dim = 3
    layers = 1
    max_word_length = 5

    def make(self, allocation, embedding_dim):
        return CharCNNEmbedding(
            allocation,
            embedding_dim,
            vocabulary_of(allocation.num_words),
            self.char_dim,
            self.widths,
            self.features,
            self.layers,
            self.max_word_length,
        )

    def dense_vectors(self, embedding):
        vocabulary = vocabulary_of(embedding.allocation.num_words)
        ids = ids_of(vocabulary, self.max_word_length)
        return torch.stack([self.dense_vector(embedding, vocabulary, ids, word) for word in vocabulary.words])

    def dense_vector(self, embedding, vocabulary, ids, word):
        characters = [embedding.characters.weight[ids[s]] for s in symbols_of(word, vocabulary, self.max_word_length)]
        features = []
        for filters in embedding.filters:
            width = filters.weight.shape[2]
            padding = torch.zeros(self.char_dim, dtype=torch.float64)
            row = characters + [padding] * max(0, width - len(characters))
            for weight, bias in zip(filters.weight, filters.bias, strict=True):
                activations = []
                for start in range(len(row) - width + 1):
                    activation = sum(weight[:, offset] @ row[start + offset] for offset in range(width)) + bias
                    activations.append(torch.tanh(activation))
                features.append(torch.stack(activations).max())
        vector = torch.stack(features)
        for layer in embedding.highway:
            gate = torch.sigmoid(layer.gate.weight @ vector + layer.gate.bias)
            transformed = (layer.transform.weight @ vector + layer.transform.bias).clamp(min=0)
            vector = gate * transformed + (1 - gate) * vector
        if sum(self.features) != self.embedding_dim:
            vector = embedding.projection.weight @ vector + embedding.projection.bias
        return vector

    def expected_parameters(self, num_words, dim):
        size = sum(self.features)
        filters = sum(
            (self.char_dim * width + 1) * count for width, count in zip(self.widths, self.features, strict=True)
        )
        highway = self.layers * 2 * (size + 1) * size
        projection = 0 if size == dim else (size + 1) * dim
        num_symbols = len(ids_of(vocabulary_of(num_words), self.max_word_length))
        return num_symbols * self.char_dim + filters + highway + projection

    def expected_table_bytes(self, num_words, dim):
        longest = max(len(symbols_of(word, vocabulary_of(num_words), self.max_word_length)) for word in WORDS)
        return num_words * max(longest, *self.widths)


class TestCharCNN(CharCNNContract):
    pass


class TestWithoutProjection(CharCNNContract):
    widths, features, layers = (3,), (6,), 2


class TestWithoutHighway(CharCNNContract):
    widths, features, layers = (9, 1), (2, 2), 0  # wider than any word


def embedding_of(num_words=12, seed=0, components=1, **options):
    torch.manual_seed(seed)
    sides = (num_words,) if components == 1 else (4, 4)
    embedding = CharCNNEmbedding(
        WordAllocation.in_order(num_words, sides),
        6,
        vocabulary_of(num_words),
        widths=[1, 3],
        features=[4, 5],
        **options,
    )
    embedding.initialise(0.5)
    return embedding


@torch.no_grad()
def vectors_of(embedding, words=None):
    return embedding.word_vectors(torch.arange(12) if words is None else torch.tensor(words))


def uncached_vectors(embedding):
    """The vectors of all words, computed without the cache."""
    return embedding.compose(torch.arange(12)).detach()


def count_composed(embedding, monkeypatch):
    """A list to which the words are appended whose vectors are computed."""
    composed, compose = [], embedding.compose

    def counting(words):
        composed.extend(words.tolist())
        return compose(words)

    monkeypatch.setattr(embedding, "compose", counting)
    return composed


def test_initial_gates_are_closed():
    embedding = embedding_of()
    gate, transform = embedding.highway[0].gate.bias, embedding.highway[0].transform.bias
    assert ((gate >= -2.5) & (gate <= -1.5)).all() and (transform.abs() <= 0.5).all()
    assert len(gate.unique()) == len(gate)


def test_features_are_word_vectors_without_an_embedding_size():
    embedding = CharCNNEmbedding(
        WordAllocation.in_order(12, (12,)), None, vocabulary_of(12), features=[4, 5], widths=[1, 3]
    )
    assert embedding.embedding_dim == 9
    assert not any("projection" in name for name, _ in embedding.named_parameters())
    assert vectors_of(embedding).shape == (12, 9)


def test_c_hsm_feeds_the_highway_output_to_the_lstm():
    vocabulary = vocabulary_of(12)
    config = compose_overrides("model=char_hierarchical", "model.hidden_dim=30")
    model = build_model(config, build_allocation(config, vocabulary), vocabulary)
    assert model.core.layers.input_size == 25 + 50 + 75 + 100 + 125 + 150


def test_training_computes_each_distinct_word_once(monkeypatch):
    embedding = embedding_of().train()
    composed = count_composed(embedding, monkeypatch)
    words = torch.tensor([[3, 1, 3, 3], [1, 5, 3, 1]])
    embedding(words, words)
    assert composed == [1, 3, 5]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_computes_each_word_once(mode, monkeypatch):
    embedding = embedding_of().eval()
    composed = count_composed(embedding, monkeypatch)
    with mode():
        first = embedding.word_vectors(torch.tensor([[3, 1], [3, 7]]))
        again = embedding.word_vectors(torch.tensor([[7, 1], [2, 3]]))
    assert composed == [1, 3, 7, 2]
    torch.testing.assert_close(first, uncached_vectors(embedding)[torch.tensor([[3, 1], [3, 7]])])
    torch.testing.assert_close(again, uncached_vectors(embedding)[torch.tensor([[7, 1], [2, 3]])])
    # Vectors that were cached in one mode are used in the other.
    other = torch.no_grad if mode is torch.inference_mode else torch.inference_mode
    with other():
        torch.testing.assert_close(embedding.word_vectors(torch.arange(12)), uncached_vectors(embedding))


def test_evaluation_with_gradients_does_not_use_the_cache():
    embedding = embedding_of().eval()
    vectors_of(embedding)
    embedding.word_vectors(torch.tensor([1, 2])).sum().backward()
    assert embedding.characters.weight.grad.abs().sum() > 0


def train_a_step(embedding):
    embedding.train()
    optimizer = torch.optim.SGD(embedding.parameters(), lr=0.1)
    embedding.word_vectors(torch.arange(12)).square().sum().backward()
    optimizer.step()
    embedding.eval()


def step_in_evaluation(embedding):
    optimizer = torch.optim.Adam(embedding.parameters(), lr=0.1)
    embedding.word_vectors(torch.arange(12)).square().sum().backward()
    optimizer.step()


def write_data(embedding):
    embedding.projection.weight.data.mul_(2)
    embedding.eval()


CHANGES = {
    "a training step": train_a_step,
    "a step in evaluation": step_in_evaluation,
    "loading": lambda embedding: embedding.load_state_dict(embedding_of(seed=1).state_dict()),
    "loading by assignment": lambda embedding: embedding.load_state_dict(
        embedding_of(seed=1).state_dict(), assign=True
    ),
    "loading a part": lambda embedding: embedding.highway.load_state_dict(embedding_of(seed=1).highway.state_dict()),
    "another initialization": lambda embedding: embedding.initialise(0.1),
    "another precision": lambda embedding: embedding.double(),
    "written data": write_data,
}


@pytest.mark.parametrize("change", CHANGES)
def test_cache_is_invalidated_by(change):
    embedding = embedding_of().eval()
    before = vectors_of(embedding)
    CHANGES[change](embedding)
    after = vectors_of(embedding)
    torch.testing.assert_close(after, uncached_vectors(embedding))
    assert after.dtype != before.dtype or not torch.allclose(after, before)


def test_cache_distinguishes_autocast():
    embedding = embedding_of().eval()
    exact = vectors_of(embedding)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = vectors_of(embedding)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(vectors_of(embedding), exact, rtol=0, atol=0)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda embedding: pickle.loads(pickle.dumps(embedding))])
def test_copies_do_not_contain_the_cache(clone):
    embedding = embedding_of().eval()
    before = vectors_of(embedding)
    size = len(pickle.dumps(embedding_of()))
    copied = clone(embedding)
    assert len(pickle.dumps(embedding)) == size
    with torch.no_grad():
        copied.projection.weight.zero_()
    torch.testing.assert_close(vectors_of(copied), copied.projection.bias.expand(12, -1))
    torch.testing.assert_close(vectors_of(embedding), before)


def test_cache_and_spelling_are_not_saved():
    embedding = embedding_of().eval()
    vectors_of(embedding)
    assert set(embedding.state_dict()) == {"allocation.codes", *dict(embedding.named_parameters())}


def test_evaluation_in_chunks(monkeypatch):
    monkeypatch.setattr("lightrnn_pl.nn.embeddings.char_cnn._CHUNK", 5)
    embedding = embedding_of().eval()
    torch.testing.assert_close(vectors_of(embedding), uncached_vectors(embedding))


def test_a_vector_does_not_depend_on_the_batch():
    embedding = embedding_of().double().train()
    alone = torch.cat([embedding.word_vectors(torch.tensor([word])) for word in range(12)])
    torch.testing.assert_close(embedding.word_vectors(torch.arange(12)), alone)


def test_hybrid_with_code_vectors():
    embedding = embedding_of(components=2).eval()
    words = torch.tensor([[3, 1]])
    with torch.no_grad():
        steps = embedding(words, words)
    torch.testing.assert_close(steps[:, ::2], uncached_vectors(embedding)[words])
    torch.testing.assert_close(steps[:, 1::2], embedding.code_vectors(torch.tensor([[0, 0]])))


@given(st.lists(st.text("ab<é日🙂", min_size=1, max_size=7), min_size=1, max_size=9, unique=True))
@settings(max_examples=100, deadline=None)
def test_spelling_matches_its_definition(words):
    vocabulary = Vocabulary(words, range(len(words)), unknown=words[-1], end=words[0])
    spelling = spell(vocabulary, max_word_length=4, min_row_length=5)
    ids = ids_of(vocabulary, 4)
    assert spelling.num_symbols == spelling.padding == len(ids)
    for word, row in zip(words, spelling.table.tolist(), strict=True):
        expected = [ids[symbol] for symbol in symbols_of(word, vocabulary, 4)]
        assert row == expected + [spelling.padding] * (len(row) - len(expected))
    assert spelling.table.shape[1] >= 5


@pytest.mark.parametrize(("num_characters", "dtype"), [(252, torch.uint8), (254, torch.int16), (40_000, torch.int32)])
def test_spelling_uses_the_narrowest_type(num_characters, dtype):
    words = [chr(0x10000 + number) for number in range(num_characters)]
    table = spell(Vocabulary(words, [1] * num_characters), 65).table
    assert table.dtype == dtype
    assert table[:, 1].tolist() == list(range(num_characters))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": []}, r"model.embedding.widths=\[\]"),
        ({"widths": [1, 2]}, r"model.embedding.widths=\[1, 2\] and model.embedding.features=\[4\]"),
        ({"widths": [0]}, r"model.embedding.widths must .* got 0"),
        ({"features": [-1]}, r"model.embedding.features must .* got -1"),
        ({"char_dim": 0}, r"model.embedding.char_dim must .* got 0"),
        ({"num_highway_layers": -1}, r"model.embedding.num_highway_layers must .* got -1"),
        ({"max_word_length": 0}, r"model.embedding.max_word_length must .* got 0"),
    ],
)
def test_invalid_arguments_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        CharCNNEmbedding(
            WordAllocation.in_order(3, (3,)), 6, vocabulary_of(3), **{"widths": [3], "features": [4], **options}
        )
