"""Reads and writes files of word vectors, such as those of word2vec.

- ``.npy``: a matrix whose row w is the vector of the word with id w.
- ``.npz``: two arrays, ``words`` and ``vectors``.
- Any other suffix: the text format of word2vec, one line per word with the word and its numbers, optionally preceded by
  a header line with the number of words and the dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lightrnn_pl.files import atomic_write


def read_vectors(path: str | Path, words: Sequence[str]) -> Float[np.ndarray, "V dimension"]:
    """The vector of each of ``words``, float32; zero for words that are missing in the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the vectors are not a matrix of finite numbers, do not match the vocabulary, or include none of
            ``words``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; set allocation.path to a .npy, .npz or text file of vectors")
    if path.suffix == ".npy":
        vectors = np.load(path, allow_pickle=False)
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise ValueError(
                f"{path} contains an array of shape {vectors.shape}, but needs one row for each of the vocabulary's "
                f"{len(words)} words, in the order of their ids; use an .npz file with words and vectors instead"
            )
        return _require_finite(path, vectors.astype(np.float32))
    vector_by_word = dict(_words_and_vectors(path))
    known = [word for word in words if word in vector_by_word]
    if not known:
        raise ValueError(
            f"{path} has no vectors for any of the vocabulary's {len(words)} words; use vectors of the same language "
            "and tokenization"
        )
    vectors = np.zeros((len(words), len(vector_by_word[known[0]])), np.float32)
    for number, word in enumerate(words):
        if word in vector_by_word:
            vectors[number] = vector_by_word[word]
    return _require_finite(path, vectors)


def write_vectors(path: str | Path, words: Sequence[str], vectors: Float[np.ndarray, "V dimension"]) -> None:
    """Write words and their vectors as ``.npz``, atomically."""
    if Path(path).suffix != ".npz":
        raise ValueError(f"word vectors can only be written as .npz, got {path}")
    with atomic_write(path) as file:
        np.savez(file, words=np.array(list(words)), vectors=vectors.astype(np.float32))


def unit_length(vectors: Float[np.ndarray, "V dimension"]) -> Float[np.ndarray, "V dimension"]:
    """The vectors scaled to unit length; zero vectors stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _words_and_vectors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            if not {"words", "vectors"} <= set(content.files):
                raise ValueError(f"{path} must contain words and vectors, but contains {sorted(content.files)}")
            words, vectors = content["words"], content["vectors"]
        if vectors.ndim != 2 or len(words) != len(vectors):
            raise ValueError(
                f"{path} contains {len(words)} words and vectors of shape {vectors.shape}; it needs one vector per word"
            )
        yield from zip(words.tolist(), vectors, strict=True)
        return
    size: int | None = None
    with path.open(encoding="utf-8", errors="strict") as lines:
        for number, line in enumerate(lines, start=1):
            word, *numbers = line.rstrip().split(" ")
            if number == 1 and len(numbers) == 1:
                continue  # the header line
            try:
                vector = np.array(numbers, dtype=np.float32)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: expected a word and numbers, got {line[:60]!r}") from error
            size = size or len(vector)
            if len(vector) != size:
                raise ValueError(
                    f"{path}, line {number}: expected {size} numbers, as in the preceding lines, got {len(vector)}"
                )
            yield word, vector


def _require_finite(path: Path, vectors: np.ndarray) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise ValueError(f"{path} contains values that are not finite; fix the source model")
    return vectors
