"""Maps of words to sub-vectors, and the hash against the reference implementation."""

import functools
import struct

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lightrnn_pl.nn.sharing import ClusteredMap, HashedMap, ShuffledMap, hashed_vectors, subvectors_for, xxhash32
from lightrnn_pl.nn.sharing.clustered import cluster

quick = settings(max_examples=60, deadline=None)
lanes = st.integers(0, 2**32 - 1)


@given(st.lists(st.lists(lanes, min_size=1, max_size=3), min_size=1, max_size=4), lanes)
@quick
def test_the_hash_has_the_reference_bits(messages, seed):
    xxhash = pytest.importorskip("xxhash")
    length = min(len(message) for message in messages)
    columns = torch.tensor([message[:length] for message in messages]).unbind(1)
    wanted = [xxhash.xxh32_intdigest(struct.pack(f"<{length}I", *message[:length]), seed) for message in messages]
    assert xxhash32(*columns, seed=seed).tolist() == wanted
    # Only the lowest 32 bits count, also of a negative number.
    assert xxhash32(*(column - 2**32 for column in columns), seed=seed).tolist() == wanted


def test_the_hash_broadcasts_and_refuses_what_it_cannot_hash():
    words, parts = torch.arange(4, dtype=torch.int32), torch.arange(3)
    table = xxhash32(words[:, None], parts, seed=1)
    assert table.shape == (4, 3) and table.dtype == torch.int64
    assert table[2, 1] == xxhash32(torch.tensor(2), torch.tensor(1), seed=1)
    with pytest.raises(ValueError, match="seed=-1"):
        xxhash32(words, seed=-1)
    with pytest.raises(ValueError, match="4 numbers"):
        xxhash32(words, words, words, words)


def test_hashed_vectors_take_any_words():
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
def test_numbers_are_in_their_sets(kind, disjoint, drawn, seed):
    num_words, num_parts, number = drawn
    assume(number >= num_parts or not disjoint)
    made = kind(num_words, num_parts, number, disjoint, seed=seed)
    numbers = made(torch.arange(num_words))
    assert numbers.shape == (num_words, num_parts) and numbers.dtype == torch.int64
    spans = [made.span(part) for part in range(num_parts)]
    for part, (start, stop) in enumerate(spans):
        assert ((numbers[:, part] >= start) & (numbers[:, part] < stop)).all()
    if disjoint:
        bounds = [edge for span in spans for edge in span]
        assert bounds[0] == 0 and bounds[-1] == number and bounds[1:-1:2] == bounds[2::2]
        widths = {stop - start for start, stop in spans}
        assert max(widths) - min(widths) <= 1 and min(widths) >= 1
    else:
        assert set(spans) == {(0, number)}
    assert torch.equal(made(torch.arange(num_words).view(1, -1, 1)), numbers.view(1, num_words, 1, num_parts))
    assert torch.equal(kind(num_words, num_parts, number, disjoint, seed=seed)(torch.arange(num_words)), numbers)


@given(drawn=sizes(), disjoint=st.booleans())
@quick
def test_a_shuffle_uses_all_equally_often(drawn, disjoint):
    num_words, num_parts, number = drawn
    assume(number >= num_parts or not disjoint)
    made = ShuffledMap(num_words, num_parts, number, disjoint)
    uses = made(torch.arange(num_words)).flatten().bincount(minlength=number)
    for start, stop in {made.span(part) for part in range(num_parts)}:
        assert uses[start:stop].max() - uses[start:stop].min() <= 1


def test_the_papers_toy_example():
    """Figure 1: four words of two parts from three sub-vectors, 3/8 of the parameters."""
    number = subvectors_for(3 / 8, None, num_words=4, num_parts=2)
    assert number == 3
    uses = ShuffledMap(4, 2, number, disjoint=False)(torch.arange(4)).flatten().bincount()
    assert sorted(uses.tolist()) == [2, 3, 3]


@pytest.mark.parametrize("kind", [ShuffledMap, HashedMap])
@pytest.mark.parametrize("disjoint", [False, True])
def test_words_share_at_random(kind, disjoint):
    """Neighbouring words, and the parts of one word, meet no more often than chance would have it."""
    numbers = kind(20_000, 4, 400, disjoint)(torch.arange(20_000))
    chance = 1 / (100 if disjoint else 400)
    meetings = [numbers[1:] == numbers[:-1], numbers[2:] == numbers[:-2]]
    if not disjoint:
        meetings.append(numbers[:, 1:] == numbers[:, :-1])
    for meeting in meetings:
        assert meeting.float().mean().item() == pytest.approx(chance, rel=0.25)
    other = kind(20_000, 4, 400, disjoint, seed=1)(torch.arange(20_000))
    assert (numbers == other).float().mean().item() == pytest.approx(chance, rel=0.25)


def test_a_shuffle_depends_on_its_seed_alone():
    torch.manual_seed(1)
    first = ShuffledMap(30, 2, 10, False, seed=3).numbers
    state = torch.get_rng_state()
    assert torch.equal(ShuffledMap(30, 2, 10, False, seed=3).numbers, first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("number", "dtype"),
    [(256, torch.uint8), (257, torch.int16), (32_768, torch.int16), (32_769, torch.int32)],
)
def test_a_table_takes_as_little_as_it_can(number, dtype):
    made = ShuffledMap(40_000, 1, number, disjoint=True)
    assert made.numbers.dtype == made.double().numbers.dtype == dtype
    assert made.table_bytes == 40_000 * dtype.itemsize
    assert made(torch.arange(40_000)).unique().tolist() == list(range(number))
    assert list(made.state_dict()) == ["numbers"]


def test_a_hash_keeps_no_table():
    made = HashedMap(1000, 4, 40, True)
    assert made.table_bytes == 0 and not made.state_dict()


def test_how_many_subvectors():
    assert subvectors_for(None, 17, num_words=100, num_parts=3) == 17
    assert subvectors_for(0.1, None, num_words=10_000, num_parts=10) == 10_000  # Slim Embedding, Table 2
    assert subvectors_for(1.0, None, num_words=7, num_parts=3) == 21
    assert subvectors_for(0.0001, None, num_words=7, num_parts=3) == 3
    for compression, number, message in [
        (None, None, "one of"),
        (0.5, 4, "one of"),
        (0.0, None, "got 0.0"),
        (1.01, None, "got 1.01"),
        (None, 0, "got 0"),
        (None, 22, "at most 21"),
    ]:
        with pytest.raises(ValueError, match=message):
            subvectors_for(compression, number, num_words=7, num_parts=3)


def test_disjoint_sets_are_never_empty():
    with pytest.raises(ValueError, match="num_subvectors=2 cannot give each of num_parts=3"):
        ShuffledMap(10, 3, 2, disjoint=True)


@pytest.mark.parametrize(("num_clusters", "lost"), [(30, 0.0), (150, 0.1)])
def test_clusters_are_found(num_clusters, lost):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(num_clusters, 4)).astype(np.float32) * 10
    members = np.arange(3000) % num_clusters
    vectors = centres[members] + rng.normal(size=(3000, 4)).astype(np.float32) * 0.01
    centroids, found = cluster(vectors, num_clusters, 10, np.random.default_rng(1))
    # Where several first centroids are drawn at once, two may fall into one cluster, and two others share a third.
    error = np.linalg.norm(vectors - centroids[found], axis=1)
    assert (error > 0.1).mean() <= lost
    nearest = np.linalg.norm(vectors[:, None] - centroids, axis=2).argmin(1)
    assert np.array_equal(found, nearest)


def test_fewer_different_vectors_than_clusters():
    vectors = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    centroids, found = cluster(vectors, 10, 5, np.random.default_rng(0))
    assert centroids.shape == (10, 3)
    np.testing.assert_allclose(centroids[found], vectors)


def test_a_clustered_map_shares_what_is_alike(tmp_path):
    rng = np.random.default_rng(0)
    kinds = rng.integers(5, size=(200, 2))
    prototypes = rng.normal(size=(2, 5, 3)) * 10
    vectors = np.concatenate([prototypes[part][kinds[:, part]] for part in range(2)], axis=1)
    np.save(tmp_path / "vectors.npy", vectors + rng.normal(size=vectors.shape) * 1e-3)
    made = ClusteredMap(200, 2, 10, disjoint=False, path=tmp_path / "vectors.npy")
    assert made.disjoint and made.span(1) == (5, 10)
    start = made.starting_vectors()
    numbers = made(torch.arange(200))
    assert start.shape == (10, 3)
    np.testing.assert_allclose(start[numbers].flatten(1).numpy(), vectors, atol=0.02)
    for part in range(2):
        pairs = set(zip(kinds[:, part].tolist(), numbers[:, part].tolist(), strict=True))
        assert len(pairs) == 5, "one cluster a kind"
    again = ClusteredMap(200, 2, 10, disjoint=True, path=tmp_path / "vectors.npy")
    torch.testing.assert_close(again.starting_vectors(), start)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((9, 4)), "holds 9 vectors, but the vocabulary has 10 words"),
        (np.zeros((10, 5)), "size 5, which num_parts=2 does not divide"),
        (np.zeros(10), "one matrix"),
        (np.zeros((10, 4), int), "one matrix"),
        (np.full((10, 4), np.nan), "not finite"),
        (b"no array", "cannot be read as a .npy file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(content, message, tmp_path):
    path = tmp_path / "vectors.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=rf"map\.path.*{message}"):
        ClusteredMap(10, 2, 6, disjoint=True, path=path).starting_vectors()


def test_a_clustered_map_without_a_file_says_which_key_is_missing():
    with pytest.raises(ValueError, match=r"model\.embedding\.map\.path \(or model\.output\.map\.path.*missing"):
        ClusteredMap(10, 2, 6, disjoint=True)


@pytest.mark.parametrize("kind", [ShuffledMap, HashedMap, functools.partial(ClusteredMap, path="vectors.npy")])
def test_impossible_options_are_refused_by_name(kind):
    with pytest.raises(ValueError, match=r"model\.embedding\.map\.seed .*model\.output\.map\.seed.* got -1"):
        kind(10, 2, 6, disjoint=True, seed=-1)


def test_a_table_is_what_is_kept(tmp_path):
    words = torch.arange(40)
    for disjoint in (False, True):
        made = ShuffledMap(40, 2, 9, disjoint)
        assert made.table() is made.numbers and torch.equal(made.table().long(), made(words))
        assert HashedMap(40, 2, 9, disjoint).table() is None
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(40, 4)))
    clustered = ClusteredMap(40, 2, 9, disjoint=True, path=tmp_path / "vectors.npy")
    with pytest.raises(ValueError, match="no clusters are known"):
        clustered.table()
    clustered.starting_vectors()
    assert torch.equal(clustered.table().long(), clustered(words))


def test_more_clusters_than_words_are_refused(tmp_path):
    with pytest.raises(ValueError, match="10 words cannot fill the 11 clusters"):
        ClusteredMap(10, 2, 21, disjoint=True, path=tmp_path / "none.npy")
