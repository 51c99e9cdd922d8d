"""What every input layer must pass: equality with plain loops, values and gradients, and what may be seen when."""

import copy
import io
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides
from lightrnn_pl.nn.embeddings import WordEmbedding

quick = settings(
    max_examples=20,
    deadline=None,
    # Several layers' tests inherit one test here, which hypothesis would take for an accident.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)


def shuffled_table(num_words: int, components: int, seed: int = 0) -> WordAllocation:
    """Words in random cells, the empty cells among them."""
    sides = balanced_sides(num_words, components)
    cells = torch.randperm(math.prod(sides), generator=torch.Generator().manual_seed(seed))[:num_words]
    return WordAllocation(torch.stack(torch.unravel_index(cells, sides), -1), sides)


def some_words(num_words: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(num_words, shape, generator=torch.Generator().manual_seed(seed))


def save_and_load(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# The shape checks that run in tests look at random elements of a sequence.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
class EmbeddingContract:
    """Give ``make``, ``dense_vectors`` and ``expected_parameters``; state the rest where it differs.

    A layer that is no ``WordEmbedding`` gives ``dense_steps`` instead of ``dense_vectors``.
    """

    embedding_dim = 6
    num_words = 12
    components = (1, 2, 3)
    refused_dims = (0, -6, True)
    """Sizes of a vector that the layer must refuse by name; add one that is not divisible where that matters."""
    starts_uniform = True
    """Whether ``initialise(scale)`` leaves every parameter in [-scale, scale], or the layer knows better."""
    low_precision_error = 0.05
    """How far the vectors may be off in bfloat16, of a model drawn in [-1, 1]."""

    def make(self, allocation, embedding_dim):
        raise NotImplementedError

    def dense_vectors(self, embedding):
        """All words' vectors, (V, D), in loops over plain parameters that autograd can follow."""
        raise NotImplementedError

    def expected_parameters(self, num_words, dim):
        """Trained numbers of the layer itself."""
        raise NotImplementedError

    def expected_code_parameters(self, sides, dim):
        """Trained numbers of the vectors that words share as codes; none for k = 1."""
        return sum(sides[:-1]) * dim

    def expected_table_bytes(self, num_words, dim):
        return 0

    def dense_steps(self, embedding, words, targets):
        """The layer once more, one step at a time, (B, S, D)."""
        vectors = self.dense_vectors(embedding)
        spelling, sides = embedding.allocation.codes.tolist(), embedding.allocation.sides
        streams = []
        for read, predicted in zip(words.tolist(), targets.tolist(), strict=True):
            steps = []
            for word, target in zip(read, predicted, strict=True):
                steps.append(vectors[word])
                for axis, code in enumerate(spelling[target][:-1]):
                    steps.append(embedding.code_vectors.weight[sum(sides[:axis]) + code])
            streams.append(torch.stack(steps))
        return torch.stack(streams)

    def ready(self, num_words=None, components=1, seed=0):
        """A layer with parameters in [-1, 1], in float64."""
        torch.manual_seed(seed)
        embedding = self.make(shuffled_table(num_words or self.num_words, components, seed), self.embedding_dim)
        embedding.double()
        for parameter in embedding.parameters():
            torch.nn.init.uniform_(parameter, -1, 1)
        return embedding.eval()

    def answer(self, embedding, components=1):
        num_words = embedding.allocation.num_words
        with torch.no_grad():
            return embedding(some_words(num_words, 3, 5), some_words(num_words, 3, 5, seed=1))

    @given(st.data())
    @quick
    def test_equals_plain_loops_in_values_and_gradients(self, data):
        components = data.draw(st.sampled_from(self.components))
        num_words = data.draw(st.integers(1, self.num_words))
        shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
        seed = data.draw(st.integers(0, 99))
        embedding = self.ready(num_words, components, seed)
        words, targets = some_words(num_words, *shape, seed=seed), some_words(num_words, *shape, seed=seed + 1)
        found, wanted = embedding(words, targets), self.dense_steps(embedding, words, targets)
        assert found.shape == (shape[0], components * shape[1], self.embedding_dim)
        torch.testing.assert_close(found, wanted)
        parameters = dict(embedding.named_parameters())
        weights = torch.randn(found.shape, dtype=found.dtype)
        gradients = [
            torch.autograd.grad((steps * weights).sum(), list(parameters.values()), allow_unused=True)
            for steps in (found, wanted)
        ]
        for name, first, second in zip(parameters, *gradients, strict=True):
            zeros = torch.zeros_like(parameters[name])
            torch.testing.assert_close(
                zeros if first is None else first,
                zeros if second is None else second,
                msg=lambda m, n=name: f"{n}: {m}",
            )

    def test_every_parameter_is_trained_by_some_word(self):
        for components in self.components:
            embedding = self.ready(components=components)
            words = torch.arange(self.num_words)[None]
            embedding(words, words.flip(1)).square().sum().backward()
            for name, parameter in embedding.named_parameters():
                assert parameter.grad is not None and parameter.grad.abs().max() > 0, name

    def test_word_vectors_take_any_shape(self):
        embedding = self.ready()
        if not isinstance(embedding, WordEmbedding):
            return
        vectors = self.dense_vectors(embedding)
        for shape in ((), (3,), (2, 1, 4), (0,)):
            words = some_words(self.num_words, *shape)
            torch.testing.assert_close(embedding.word_vectors(words), vectors[words])

    def test_only_the_codes_before_the_last_are_seen(self):
        for components in set(self.components) - {1}:
            embedding = self.ready(12, components)
            sides = embedding.allocation.sides
            embedding.allocation.assign(torch.stack(torch.unravel_index(torch.arange(12), sides), -1))
            words, targets = some_words(12, 2, 6), some_words(12, 2, 6, seed=1)
            codes = embedding.allocation.encode(targets)
            cells = embedding.allocation.words()

            def other(axis, codes=codes, cells=cells, sides=sides):
                """Targets with another code on one axis."""
                changed = codes.clone()
                changed[..., axis] = (changed[..., axis] + 1) % sides[axis]
                return cells[tuple(changed.unbind(-1))]

            assert (cells >= 0).all(), "every other target is a word"
            steps = embedding(words, targets).view(2, 6, components, -1)
            torch.testing.assert_close(embedding(words, other(-1)).view_as(steps), steps, rtol=0, atol=0)
            for axis in range(components - 1):
                moved = (embedding(words, other(axis)).view_as(steps) != steps).any(-1).all(0).all(0)
                assert moved.tolist() == [step == axis + 1 for step in range(components)]

    def test_a_move_of_words_is_followed_and_leaves_own_vectors_alone(self):
        for components in self.components:
            embedding = self.ready(components=components)
            words, targets = some_words(self.num_words, 2, 4), some_words(self.num_words, 2, 4, seed=1)
            before = embedding(words, targets)
            embedding.allocation.assign(shuffled_table(self.num_words, components, seed=5).codes)
            after = embedding(words, targets)
            torch.testing.assert_close(after, self.dense_steps(embedding, words, targets))
            if isinstance(embedding, WordEmbedding):
                torch.testing.assert_close(after[:, ::components], before[:, ::components], rtol=0, atol=0)

    def test_saves_and_loads(self):
        for components in self.components:
            embedding, other = self.ready(components=components), self.ready(components=components, seed=3)
            assert not torch.equal(self.answer(embedding), self.answer(other))
            other.load_state_dict(save_and_load(embedding.state_dict()))
            torch.testing.assert_close(self.answer(other), self.answer(embedding), rtol=0, atol=0)

    @pytest.mark.parametrize("training", [False, True])
    def test_inference_mode_loads_looks_up_and_leaves_a_layer_that_trains(self, training):
        words, targets = some_words(self.num_words, 3, 5), some_words(self.num_words, 3, 5, seed=1)
        for components in self.components:
            embedding = self.ready(components=components)
            state, steps = embedding.state_dict(), embedding(words, targets)
            other = self.make(shuffled_table(self.num_words, components, 9), self.embedding_dim).double()
            with torch.inference_mode():
                born_there = self.make(shuffled_table(self.num_words, components, 9), self.embedding_dim).double()
                for layer in (born_there, other):
                    layer.train(training).load_state_dict(state)
                    torch.testing.assert_close(layer(words, targets), steps)
            with torch.no_grad():
                torch.testing.assert_close(born_there(words, targets), steps)
            found = other(words, targets)
            torch.testing.assert_close(found, steps)
            found.square().sum().backward()
            assert all(parameter.grad is not None for parameter in other.parameters())

    def test_a_copy_says_the_same_and_stands_alone(self):
        for components in self.components:
            embedding = self.ready(components=components)
            twin = copy.deepcopy(embedding)
            answer = self.answer(embedding)
            torch.testing.assert_close(self.answer(twin), answer, rtol=0, atol=0)
            with torch.no_grad():
                for parameter in embedding.parameters():
                    parameter.mul_(2).add_(1)
            torch.testing.assert_close(self.answer(twin), answer, rtol=0, atol=0)
            assert not torch.equal(self.answer(embedding), answer)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_other_precisions(self, dtype):
        for components in self.components:
            embedding = self.ready(components=components)
            exact = self.answer(embedding)
            rounded = self.answer(embedding.to(dtype))
            assert rounded.dtype == dtype
            error = 1e-5 if dtype == torch.float32 else self.low_precision_error
            torch.testing.assert_close(rounded.double(), exact, rtol=0, atol=error)
            assert self.answer(embedding.double()).dtype == torch.float64

    def test_counts_parameters_and_tables(self):
        for num_words in (self.num_words, 37):
            for components in self.components:
                embedding = self.make(shuffled_table(num_words, components), self.embedding_dim)
                expected = self.expected_parameters(num_words, self.embedding_dim)
                expected += self.expected_code_parameters(embedding.allocation.sides, self.embedding_dim)
                assert sum(parameter.numel() for parameter in embedding.parameters()) == expected
                assert embedding.table_bytes == self.expected_table_bytes(num_words, self.embedding_dim)
                assert embedding.steps_per_word == components
                assert embedding.embedding_dim == self.embedding_dim

    def test_initialises(self):
        embedding = self.make(shuffled_table(self.num_words, self.components[-1]), self.embedding_dim)
        for parameter in embedding.parameters():
            torch.nn.init.constant_(parameter, math.nan)
        embedding.initialise(0.05)
        for name, parameter in embedding.named_parameters():
            assert parameter.isfinite().all(), name
            if self.starts_uniform:
                assert parameter.abs().max() <= 0.05, name
                assert parameter.std() > 0.005, name
        assert self.answer(embedding).isfinite().all()

    def test_impossible_sizes_are_refused_by_name(self):
        for dim in self.refused_dims:
            with pytest.raises(ValueError, match=rf"embedding_dim.* {dim}(?!\d)"):
                self.make(shuffled_table(self.num_words, 1), dim)
