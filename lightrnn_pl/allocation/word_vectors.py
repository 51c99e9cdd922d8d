"""Word vectors in files, as other tools make them.

``.npy`` holds a matrix whose row w belongs to the word with id w; ``.npz`` holds ``words`` and ``vectors``; all else is
read as word2vec's text format, a word and its numbers a line, with or without a first line that counts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lightrnn_pl.files import atomic_write


def read_vectors(path: str | Path, words: Sequence[str]) -> Float[np.ndarray, "V dimension"]:
    """The vector of each of ``words``, float32; zero for words that the file lacks.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no matrix of finite numbers, one of other words, or vectors for none of ``words``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no word vectors at {path}; give allocation.path a .npy, .npz or text file")
    if path.suffix == ".npy":
        vectors = np.load(path, allow_pickle=False)
        if vectors.ndim != 2 or len(vectors) != len(words):
            raise ValueError(
                f"{path} holds an array of shape {vectors.shape}, but a row is needed for each of the vocabulary's "
                f"{len(words)} words, in the order of their ids; give an .npz with words and vectors"
            )
        return _checked(path, vectors.astype(np.float32))
    known = dict(_named(path))
    found = [word for word in words if word in known]
    if not found:
        raise ValueError(f"{path} has a vector for none of the vocabulary's {len(words)} words; give vectors of these")
    vectors = np.zeros((len(words), len(known[found[0]])), np.float32)
    for place, word in enumerate(words):
        if word in known:
            vectors[place] = known[word]
    return _checked(path, vectors)


def write_vectors(path: str | Path, words: Sequence[str], vectors: Float[np.ndarray, "V dimension"]) -> None:
    """Write words and their vectors as ``.npz``, atomically."""
    if Path(path).suffix != ".npz":
        raise ValueError(f"word vectors are written as .npz, got {path}")
    with atomic_write(path) as file:
        np.savez(file, words=np.array(list(words)), vectors=vectors.astype(np.float32))


def unit_length(vectors: Float[np.ndarray, "V dimension"]) -> Float[np.ndarray, "V dimension"]:
    """Each vector divided by its length; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _named(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            if not {"words", "vectors"} <= set(content.files):
                raise ValueError(f"{path} must hold words and vectors, it holds {sorted(content.files)}")
            words, vectors = content["words"], content["vectors"]
        if vectors.ndim != 2 or len(words) != len(vectors):
            raise ValueError(f"{path} holds {len(words)} words and vectors of shape {vectors.shape}; give one a word")
        yield from zip(words.tolist(), vectors, strict=True)
        return
    size: int | None = None
    with path.open(encoding="utf-8", errors="strict") as lines:
        for number, line in enumerate(lines, start=1):
            word, *numbers = line.rstrip().split(" ")
            if number == 1 and len(numbers) == 1:
                continue  # the line that counts words and numbers
            try:
                vector = np.array(numbers, dtype=np.float32)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: not a word and its numbers: {line[:60]!r}") from error
            size = size or len(vector)
            if len(vector) != size:
                raise ValueError(f"{path}, line {number}: {len(vector)} numbers where the lines before have {size}")
            yield word, vector


def _checked(path: Path, vectors: np.ndarray) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise ValueError(f"{path} contains values that are not finite; fix the source model")
    return vectors
