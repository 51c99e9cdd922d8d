"""Maps of words to sub-vectors, and the hash against the reference implementation."""

import functools
import struct

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lightrnn_pl.nn.sharing import ClusteredMap, HashedMap, ShuffledMap, hashed_vectors, subvector_count, xxhash32
from lightrnn_pl.nn.sharing.clustered import cluster

quick = settings(max_examples=60, deadline=None)
lanes = st.integers(0, 2**32 - 1)


@given(st.lists(st.lists(lanes, min_size=1, max_size=3), min_size=1, max_size=4), lanes)
@quick
def test_hash_equals_the_reference_implementation(messages, seed):
    xxhash = pytest.importorskip("xxhash")
    length = min(len(message) for message in messages)
    columns = torch.tensor([message[:length] for message in messages]).unbind(1)
    expected = [xxhash.xxh32_intdigest(struct.pack(f"<{length}I", *message[:length]), seed) for message in messages]
    assert xxhash32(*columns, seed=seed).tolist() == expected
    # Only the lowest 32 bits are used, even of negative numbers.
    assert xxhash32(*(column - 2**32 for column in columns), seed=seed).tolist() == expected


def test_hash_broadcasts_and_rejects_invalid_arguments():
    words, parts = torch.arange(4, dtype=torch.int32), torch.arange(3)
    table = xxhash32(words[:, None], parts, seed=1)
    assert table.shape == (4, 3) and table.dtype == torch.int64
    assert table[2, 1] == xxhash32(torch.tensor(2), torch.tensor(1), seed=1)
    with pytest.raises(ValueError, match=r"seed must .* got -1"):
        xxhash32(words, seed=-1)
    with pytest.raises(ValueError, match="4 numbers"):
        xxhash32(words, words, words, words)


def test_hashed_vectors_of_any_words():
    weight = torch.randn(7)
    vectors = hashed_vectors(weight, torch.arange(5), 3)
    assert torch.equal(hashed_vectors(weight, torch.tensor([[4], [0]]), 3), vectors[[4, 0]][:, None])
    assert hashed_vectors(weight, torch.zeros(0, dtype=torch.int64), 3).shape == (0, 3)
    assert set(vectors.abs().flatten().tolist()) <= set(weight.abs().tolist())


@st.composite
def sizes(draw):
    num_words, num_parts = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    return num_words, num_parts, draw(st.integers(1, num_words * num_parts))


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("kind", [ShuffledMap, HashedMap])
@given(drawn=sizes(), seed=st.integers(0, 2**31))
@quick
def test_numbers_are_within_their_sets(kind, disjoint, drawn, seed):
    num_words, num_parts, number = drawn
    assume(number >= num_parts or not disjoint)
    word_map = kind(num_words, num_parts, number, disjoint, seed=seed)
    numbers = word_map(torch.arange(num_words))
    assert numbers.shape == (num_words, num_parts) and numbers.dtype == torch.int64
    spans = [word_map.span(part) for part in range(num_parts)]
    for part, (start, stop) in enumerate(spans):
        assert ((numbers[:, part] >= start) & (numbers[:, part] < stop)).all()
    if disjoint:
        bounds = [edge for span in spans for edge in span]
        assert bounds[0] == 0 and bounds[-1] == number and bounds[1:-1:2] == bounds[2::2]
        widths = {stop - start for start, stop in spans}
        assert max(widths) - min(widths) <= 1 and min(widths) >= 1
    else:
        assert set(spans) == {(0, number)}
    assert torch.equal(word_map(torch.arange(num_words).view(1, -1, 1)), numbers.view(1, num_words, 1, num_parts))
    assert torch.equal(kind(num_words, num_parts, number, disjoint, seed=seed)(torch.arange(num_words)), numbers)


@given(drawn=sizes(), disjoint=st.booleans())
@quick
def test_shuffled_maps_use_all_subvectors_equally_often(drawn, disjoint):
    num_words, num_parts, number = drawn
    assume(number >= num_parts or not disjoint)
    word_map = ShuffledMap(num_words, num_parts, number, disjoint)
    uses = word_map(torch.arange(num_words)).flatten().bincount(minlength=number)
    for start, stop in {word_map.span(part) for part in range(num_parts)}:
        assert uses[start:stop].max() - uses[start:stop].min() <= 1


def test_example_of_the_paper():
    """Figure 1: four words with two parts and three sub-vectors, 3/8 of the parameters."""
    number = subvector_count(3 / 8, None, num_words=4, num_parts=2)
    assert number == 3
    uses = ShuffledMap(4, 2, number, disjoint=False)(torch.arange(4)).flatten().bincount()
    assert sorted(uses.tolist()) == [2, 3, 3]


@pytest.mark.parametrize("kind", [ShuffledMap, HashedMap])
@pytest.mark.parametrize("disjoint", [False, True])
def test_words_share_subvectors_at_random(kind, disjoint):
    """Neighboring words, and the parts of a word, share sub-vectors no more often than by chance."""
    numbers = kind(20_000, 4, 400, disjoint)(torch.arange(20_000))
    chance = 1 / (100 if disjoint else 400)
    collisions = [numbers[1:] == numbers[:-1], numbers[2:] == numbers[:-2]]
    if not disjoint:
        collisions.append(numbers[:, 1:] == numbers[:, :-1])
    for collision in collisions:
        assert collision.float().mean().item() == pytest.approx(chance, rel=0.25)
    other = kind(20_000, 4, 400, disjoint, seed=1)(torch.arange(20_000))
    assert (numbers == other).float().mean().item() == pytest.approx(chance, rel=0.25)


def test_shuffled_maps_depend_only_on_the_seed():
    torch.manual_seed(1)
    first = ShuffledMap(30, 2, 10, False, seed=3).numbers
    state = torch.get_rng_state()
    assert torch.equal(ShuffledMap(30, 2, 10, False, seed=3).numbers, first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(256, torch.uint8), (257, torch.int16), (32_768, torch.int16), (32_769, torch.int32)],
)
def test_tables_use_the_narrowest_type(number, dtype):
    word_map = ShuffledMap(40_000, 1, number, disjoint=True)
    assert word_map.numbers.dtype == word_map.double().numbers.dtype == dtype
    assert word_map.table_bytes == 40_000 * dtype.itemsize
    assert word_map(torch.arange(40_000)).unique().tolist() == list(range(number))
    assert list(word_map.state_dict()) == ["numbers"]


def test_hashed_maps_store_no_table():
    word_map = HashedMap(1000, 4, 40, True)
    assert word_map.table_bytes == 0 and not word_map.state_dict()


def test_subvector_count():
    assert subvector_count(None, 17, num_words=100, num_parts=3) == 17
    assert subvector_count(0.1, None, num_words=10_000, num_parts=10) == 10_000  # Slim Embedding, Table 2
    assert subvector_count(1.0, None, num_words=7, num_parts=3) == 21
    assert subvector_count(0.0001, None, num_words=7, num_parts=3) == 3
    for compression, number, message in [
        (None, None, "exactly one of"),
        (0.5, 4, "exactly one of"),
        (0.0, None, "got 0.0"),
        (1.01, None, "got 1.01"),
        (None, 0, "got 0"),
        (None, 22, "at most 21"),
    ]:
        with pytest.raises(ValueError, match=message):
            subvector_count(compression, number, num_words=7, num_parts=3)


def test_too_few_subvectors_for_disjoint_sets_are_rejected():
    with pytest.raises(ValueError, match="num_subvectors=2 is too small for num_parts=3"):
        ShuffledMap(10, 3, 2, disjoint=True)


@pytest.mark.parametrize(("num_clusters", "lost"), [(30, 0.0), (150, 0.1)])
def test_well_separated_clusters_are_found(num_clusters, lost):
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(num_clusters, 4)).astype(np.float32) * 10
    members = np.arange(3000) % num_clusters
    vectors = centers[members] + rng.normal(size=(3000, 4)).astype(np.float32) * 0.01
    centroids, labels = cluster(vectors, num_clusters, 10, np.random.default_rng(1))
    # If several initial centroids are drawn at a time, two of them may be in the same cluster.
    error = np.linalg.norm(vectors - centroids[labels], axis=1)
    assert (error > 0.1).mean() <= lost
    nearest = np.linalg.norm(vectors[:, None] - centroids, axis=2).argmin(1)
    assert np.array_equal(labels, nearest)


def test_fewer_distinct_vectors_than_clusters():
    vectors = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    centroids, labels = cluster(vectors, 10, 5, np.random.default_rng(0))
    assert centroids.shape == (10, 3)
    np.testing.assert_allclose(centroids[labels], vectors)


def test_clustered_maps_share_similar_vectors(tmp_path):
    rng = np.random.default_rng(0)
    kinds = rng.integers(5, size=(200, 2))
    prototypes = rng.normal(size=(2, 5, 3)) * 10
    vectors = np.concatenate([prototypes[part][kinds[:, part]] for part in range(2)], axis=1)
    np.save(tmp_path / "vectors.npy", vectors + rng.normal(size=vectors.shape) * 1e-3)
    word_map = ClusteredMap(200, 2, 10, disjoint=False, path=tmp_path / "vectors.npy")
    assert word_map.disjoint and word_map.span(1) == (5, 10)
    start = word_map.initial_subvectors()
    numbers = word_map(torch.arange(200))
    assert start.shape == (10, 3)
    np.testing.assert_allclose(start[numbers].flatten(1).numpy(), vectors, atol=0.02)
    for part in range(2):
        pairs = set(zip(kinds[:, part].tolist(), numbers[:, part].tolist(), strict=True))
        assert len(pairs) == 5, "one cluster per kind"
    again = ClusteredMap(200, 2, 10, disjoint=True, path=tmp_path / "vectors.npy")
    torch.testing.assert_close(again.initial_subvectors(), start)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((9, 4)), "contains 9 vectors, but the vocabulary has 10 words"),
        (np.zeros((10, 5)), "size 5, which is not divisible by num_parts=2"),
        (np.zeros(10), "one matrix"),
        (np.zeros((10, 4), int), "one matrix"),
        (np.full((10, 4), np.nan), "not finite"),
        (b"no array", "cannot be read as a .npy file"),
    ],
)
def test_unsuitable_files_are_rejected(content, message, tmp_path):
    path = tmp_path / "vectors.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=rf"map\.path.*{message}"):
        ClusteredMap(10, 2, 6, disjoint=True, path=path).initial_subvectors()


def test_clustered_maps_need_a_file():
    with pytest.raises(ValueError, match=r"model\.embedding\.map\.path \(or model\.output\.map\.path.*missing"):
        ClusteredMap(10, 2, 6, disjoint=True)


@pytest.mark.parametrize("kind", [ShuffledMap, HashedMap, functools.partial(ClusteredMap, path="vectors.npy")])
def test_invalid_seeds_are_rejected(kind):
    with pytest.raises(ValueError, match=r"model\.embedding\.map\.seed .*model\.output\.map\.seed.* got -1"):
        kind(10, 2, 6, disjoint=True, seed=-1)


def test_table_returns_the_stored_numbers(tmp_path):
    words = torch.arange(40)
    for disjoint in (False, True):
        shuffled = ShuffledMap(40, 2, 9, disjoint)
        assert shuffled.table() is shuffled.numbers and torch.equal(shuffled.table().long(), shuffled(words))
        assert HashedMap(40, 2, 9, disjoint).table() is None
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(40, 4)))
    clustered = ClusteredMap(40, 2, 9, disjoint=True, path=tmp_path / "vectors.npy")
    with pytest.raises(ValueError, match="no clusters yet"):
        clustered.table()
    clustered.initial_subvectors()
    assert torch.equal(clustered.table().long(), clustered(words))


def test_more_clusters_than_words_are_rejected(tmp_path):
    with pytest.raises(ValueError, match="10 words are too few for 11 clusters"):
        ClusteredMap(10, 2, 21, disjoint=True, path=tmp_path / "none.npy")
