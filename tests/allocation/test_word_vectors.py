import numpy as np
import pytest

from lightrnn_pl.allocation.initial.vectors import VectorsAllocation
from lightrnn_pl.allocation.word_vectors import read_vectors, write_vectors

WORDS = ["the", "cat", "sat"]
VECTORS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)


@pytest.mark.parametrize("header", ["", "2 2\n"])
def test_text_format(tmp_path, header):
    path = tmp_path / "vectors.vec"
    path.write_text(header + "cat 3 4\nother 7 8\n")
    assert read_vectors(path, WORDS).tolist() == [[0, 0], [3, 4], [0, 0]]


def test_npz_is_indexed_by_word_and_npy_by_id(tmp_path):
    write_vectors(tmp_path / "a.npz", WORDS[::-1], VECTORS[::-1])
    np.save(tmp_path / "b.npy", VECTORS)
    for name in ("a.npz", "b.npy"):
        assert np.array_equal(read_vectors(tmp_path / name, WORDS), VECTORS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat 3 x\n", r"line 1: expected a word and numbers"),
        ("cat 3 4\nsat 5\n", r"line 2: expected 2 numbers, as in the preceding lines, got 1"),
        ("dog 3 4\n", r"no vectors for any of the vocabulary's 3 words"),
        ("cat 3 nan\n", r"not finite"),
    ],
)
def test_malformed_text_files_are_rejected(tmp_path, content, message):
    path = tmp_path / "vectors.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_vectors(path, WORDS)


def test_malformed_arrays_are_rejected(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS[:2])
    with pytest.raises(ValueError, match=r"shape \(2, 2\).*each of the vocabulary's 3 words"):
        read_vectors(tmp_path / "a.npy", WORDS)
    np.savez(tmp_path / "b.npz", other=VECTORS)
    with pytest.raises(ValueError, match=r"must contain words and vectors, but contains \['other'\]"):
        read_vectors(tmp_path / "b.npz", WORDS)
    with pytest.raises(FileNotFoundError, match=r"allocation\.path"):
        read_vectors(tmp_path / "none.npz", WORDS)
    with pytest.raises(ValueError, match=r"as \.npz"):
        write_vectors(tmp_path / "c.txt", WORDS, VECTORS)


@pytest.mark.parametrize("columns", ["random", "frequency", "clusters"])
def test_words_with_similar_vectors_share_a_row(tmp_path, columns):
    """Words of a row share one direction and differ along a second one, which determines the column clusters."""
    generator = np.random.default_rng(0)
    rows, kinds = np.arange(12) % 3, np.arange(12) // 3
    vectors = np.concatenate([10 * np.eye(3)[rows], 2 * np.eye(4)[kinds]], 1) + 0.01 * generator.normal(size=(12, 7))
    np.save(tmp_path / "v.npy", vectors)
    counts = np.arange(12, 0, -1)
    table = VectorsAllocation(tmp_path / "v.npy", columns=columns)(12, (3, 4), [str(w) for w in range(12)], counts)
    codes = table.codes.numpy()
    assert all(len(set(codes[rows == row, 0])) == 1 for row in range(3))
    columns_by_kind = [set(codes[kinds == kind, 1]) for kind in range(4)]
    if columns == "frequency":
        assert all(codes[word, 1] == word // 3 for word in range(12))
    if columns == "clusters":
        assert all(len(columns_of_kind) == 1 for columns_of_kind in columns_by_kind)
