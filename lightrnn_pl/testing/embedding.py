"""The contract suite of embeddings.

The suite compares an embedding with a reference in loops (values and gradients), and checks which words and codes each
step depends on, serialization, precisions and initialization.

Example::

    from lightrnn_pl.testing.embedding import EmbeddingContract

    class TestMyEmbedding(EmbeddingContract):
        def make(self, allocation, embedding_dim):
            return MyEmbedding(allocation, embedding_dim)

        def dense_vectors(self, embedding):
            return embedding.vectors.weight

        def expected_parameters(self, num_words, dim):
            return num_words * dim
"""

import copy
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightrnn_pl.nn.embeddings import WordEmbedding
from lightrnn_pl.testing.utilities import balanced_allocation, random_words, save_and_load

quick = settings(
    max_examples=20,
    deadline=None,
    # Several classes inherit the same test, which hypothesis reports as an error by default.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)


# The runtime type checker samples random elements of sequences.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
class EmbeddingContract:
    """Subclasses implement ``make``, ``dense_vectors`` and ``expected_parameters``, and override the rest if necessary.

    Embeddings that are not a ``WordEmbedding`` implement ``dense_steps`` instead of ``dense_vectors``.
    """

    embedding_dim = 6
    num_words = 12
    min_words = 1
    """The smallest vocabulary that the embedding accepts."""
    components = (1, 2, 3)
    invalid_dims = (0, -6, True)
    """Embedding sizes that must be rejected; add sizes that are not divisible if necessary."""
    has_uniform_initialization = True
    """Whether ``initialise(scale)`` initializes all parameters uniformly in [-scale, scale]."""
    bfloat16_tolerance = 0.05
    """Largest error of the vectors in bfloat16, with parameters in [-1, 1]."""

    def make(self, allocation, embedding_dim):
        """The embedding under test."""
        raise NotImplementedError

    def dense_vectors(self, embedding):
        """The vectors of all words, (V, D), computed from the parameters in loops, differentiably."""
        raise NotImplementedError

    def expected_parameters(self, num_words, dim):
        """The expected number of parameters, without the vectors of codes."""
        raise NotImplementedError

    def expected_code_parameters(self, sides, dim):
        """The expected number of parameters of the vectors of codes; 0 for k = 1."""
        return sum(sides[:-1]) * dim

    def expected_table_bytes(self, num_words, dim):
        """The expected size in bytes of tables that are not trained."""
        return 0

    def dense_steps(self, embedding, words, targets):
        """The step vectors, (B, S, D), computed one at a time."""
        vectors = self.dense_vectors(embedding)
        all_codes, sides = embedding.allocation.codes.tolist(), embedding.allocation.sides
        streams = []
        for stream_words, stream_targets in zip(words.tolist(), targets.tolist(), strict=True):
            steps = []
            for word, target in zip(stream_words, stream_targets, strict=True):
                steps.append(vectors[word])
                for axis, code in enumerate(all_codes[target][:-1]):
                    steps.append(embedding.code_vectors.weight[sum(sides[:axis]) + code])
            streams.append(torch.stack(steps))
        return torch.stack(streams)

    def make_random(self, num_words=None, components=1, seed=0):
        """An embedding with a random allocation and random parameters in [-1, 1], in float64."""
        torch.manual_seed(seed)
        embedding = self.make(balanced_allocation(num_words or self.num_words, components, seed), self.embedding_dim)
        embedding.double()
        for parameter in embedding.parameters():
            torch.nn.init.uniform_(parameter, -1, 1)
        return embedding.eval()

    def compute(self, embedding):
        """The step vectors of random words."""
        num_words = embedding.allocation.num_words
        with torch.no_grad():
            return embedding(random_words(num_words, 3, 5), random_words(num_words, 3, 5, seed=1))

    @given(st.data())
    @quick
    def test_equals_loops_with_gradients(self, data):
        components = data.draw(st.sampled_from(self.components))
        num_words = data.draw(st.integers(self.min_words, self.num_words))
        shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
        seed = data.draw(st.integers(0, 99))
        embedding = self.make_random(num_words, components, seed)
        words, targets = random_words(num_words, *shape, seed=seed), random_words(num_words, *shape, seed=seed + 1)
        actual, expected = embedding(words, targets), self.dense_steps(embedding, words, targets)
        assert actual.shape == (shape[0], components * shape[1], self.embedding_dim)
        torch.testing.assert_close(actual, expected)
        parameters = dict(embedding.named_parameters())
        weights = torch.randn(actual.shape, dtype=actual.dtype)
        gradients = [
            torch.autograd.grad((steps * weights).sum(), list(parameters.values()), allow_unused=True)
            for steps in (actual, expected)
        ]
        for name, actual_gradient, expected_gradient in zip(parameters, *gradients, strict=True):
            zeros = torch.zeros_like(parameters[name])
            torch.testing.assert_close(
                zeros if actual_gradient is None else actual_gradient,
                zeros if expected_gradient is None else expected_gradient,
                msg=lambda text, name=name: f"{name}: {text}",
            )

    def test_every_parameter_has_a_gradient(self):
        for components in self.components:
            embedding = self.make_random(components=components)
            words = torch.arange(self.num_words)[None]
            embedding(words, words.flip(1)).square().sum().backward()
            for name, parameter in embedding.named_parameters():
                assert parameter.grad is not None and parameter.grad.abs().max() > 0, name

    def test_word_vectors_accept_any_shape(self):
        embedding = self.make_random()
        if not isinstance(embedding, WordEmbedding):
            return
        vectors = self.dense_vectors(embedding)
        for shape in ((), (3,), (2, 1, 4), (0,)):
            words = random_words(self.num_words, *shape)
            torch.testing.assert_close(embedding.word_vectors(words), vectors[words])

    def test_steps_depend_only_on_preceding_codes(self):
        for components in set(self.components) - {1}:
            embedding = self.make_random(12, components)
            sides = embedding.allocation.sides
            embedding.allocation.assign(torch.stack(torch.unravel_index(torch.arange(12), sides), -1))
            words, targets = random_words(12, 2, 6), random_words(12, 2, 6, seed=1)
            codes = embedding.allocation.encode(targets)
            cells = embedding.allocation.words()

            def with_other_code(axis, codes=codes, cells=cells, sides=sides):
                """Targets with another code on one axis."""
                changed = codes.clone()
                changed[..., axis] = (changed[..., axis] + 1) % sides[axis]
                return cells[tuple(changed.unbind(-1))]

            assert (cells >= 0).all(), "the table must be full"
            steps = embedding(words, targets).view(2, 6, components, -1)
            torch.testing.assert_close(embedding(words, with_other_code(-1)).view_as(steps), steps, rtol=0, atol=0)
            for axis in range(components - 1):
                changed = (embedding(words, with_other_code(axis)).view_as(steps) != steps).any(-1).all(0).all(0)
                assert changed.tolist() == [step == axis + 1 for step in range(components)]

    def test_reallocation_changes_code_vectors_but_not_word_vectors(self):
        for components in self.components:
            embedding = self.make_random(components=components)
            words, targets = random_words(self.num_words, 2, 4), random_words(self.num_words, 2, 4, seed=1)
            before = embedding(words, targets)
            embedding.allocation.assign(balanced_allocation(self.num_words, components, seed=5).codes)
            after = embedding(words, targets)
            torch.testing.assert_close(after, self.dense_steps(embedding, words, targets))
            if isinstance(embedding, WordEmbedding):
                torch.testing.assert_close(after[:, ::components], before[:, ::components], rtol=0, atol=0)

    def test_state_dict_round_trip(self):
        for components in self.components:
            embedding, other = self.make_random(components=components), self.make_random(components=components, seed=3)
            assert not torch.equal(self.compute(embedding), self.compute(other))
            other.load_state_dict(save_and_load(embedding.state_dict()))
            torch.testing.assert_close(self.compute(other), self.compute(embedding), rtol=0, atol=0)

    @pytest.mark.parametrize("training", [False, True])
    def test_loading_in_inference_mode_leaves_the_embedding_trainable(self, training):
        words, targets = random_words(self.num_words, 3, 5), random_words(self.num_words, 3, 5, seed=1)
        for components in self.components:
            embedding = self.make_random(components=components)
            state, steps = embedding.state_dict(), embedding(words, targets)
            other = self.make(balanced_allocation(self.num_words, components, 9), self.embedding_dim).double()
            with torch.inference_mode():
                created = self.make(balanced_allocation(self.num_words, components, 9), self.embedding_dim).double()
                for layer in (created, other):
                    layer.train(training).load_state_dict(state)
                    torch.testing.assert_close(layer(words, targets), steps)
            with torch.no_grad():
                torch.testing.assert_close(created(words, targets), steps)
            actual = other(words, targets)
            torch.testing.assert_close(actual, steps)
            actual.square().sum().backward()
            assert all(parameter.grad is not None for parameter in other.parameters())

    def test_a_copy_is_equal_and_independent(self):
        for components in self.components:
            embedding = self.make_random(components=components)
            copied = copy.deepcopy(embedding)
            before = self.compute(embedding)
            torch.testing.assert_close(self.compute(copied), before, rtol=0, atol=0)
            with torch.no_grad():
                for parameter in embedding.parameters():
                    parameter.mul_(2).add_(1)
            torch.testing.assert_close(self.compute(copied), before, rtol=0, atol=0)
            assert not torch.equal(self.compute(embedding), before)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_other_precisions(self, dtype):
        for components in self.components:
            embedding = self.make_random(components=components)
            exact = self.compute(embedding)
            rounded = self.compute(embedding.to(dtype))
            assert rounded.dtype == dtype
            error = 1e-5 if dtype == torch.float32 else self.bfloat16_tolerance
            torch.testing.assert_close(rounded.double(), exact, rtol=0, atol=error)
            assert self.compute(embedding.double()).dtype == torch.float64

    def test_number_of_parameters_and_table_bytes(self):
        for num_words in (self.num_words, 37):
            for components in self.components:
                embedding = self.make(balanced_allocation(num_words, components), self.embedding_dim)
                expected = self.expected_parameters(num_words, self.embedding_dim)
                expected += self.expected_code_parameters(embedding.allocation.sides, self.embedding_dim)
                assert sum(parameter.numel() for parameter in embedding.parameters()) == expected
                assert embedding.table_bytes == self.expected_table_bytes(num_words, self.embedding_dim)
                assert embedding.steps_per_word == components
                assert embedding.embedding_dim == self.embedding_dim

    def test_initialization(self):
        embedding = self.make(balanced_allocation(self.num_words, self.components[-1]), self.embedding_dim)
        for parameter in embedding.parameters():
            torch.nn.init.constant_(parameter, math.nan)
        embedding.initialise(0.05)
        for name, parameter in embedding.named_parameters():
            assert parameter.isfinite().all(), name
            if self.has_uniform_initialization:
                assert parameter.abs().max() <= 0.05, name
                assert parameter.std() > 0.005, name
        assert self.compute(embedding).isfinite().all()

    def test_invalid_sizes_are_rejected(self):
        for dim in self.invalid_dims:
            with pytest.raises(ValueError, match=rf"embedding_dim.* {dim}(?!\d)"):
                self.make(balanced_allocation(self.num_words, 1), dim)
