"""Words that have similar sub-vectors in a trained model share them: product quantisation (Jégou et al. 2011).

The Slim Embedding paper leaves codes that are learned from data to future work.  Knows a matrix in a file, and not
what model it is from.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor

from lightrnn_pl.checks import check_count, check_seed
from lightrnn_pl.nn.sharing.base import SubvectorMap, in_either

_SEEDING_ROUNDS = 64
"""Rounds in which first centroids are drawn; as many as there are clusters would be k-means++ itself."""


class ClusteredMap(SubvectorMap):
    """k-means of each part of V vectors; a word's sub-vector is the centroid of its cluster.

    Sets are always disjoint, as parts are clustered apart.  The file is read when the sub-vectors are given their
    first values (:meth:`starting_vectors`), and never again: the map is saved with the model.

    Args:
        num_words: V.
        num_parts: K.
        num_subvectors: M; part i has the clusters ``span(i)``.
        disjoint: Met whether asked for or not.
        path: A .npy file with a (V, D') matrix, row w for the word whose id is w; K must divide D'.
        iterations: Of k-means.
        seed: Of its first centroids.

    Raises:
        ValueError: If no file is named, M is out of range, or, when the first values are given, the file is missing or
            does not fit.
    """

    numbers: Tensor

    def __init__(
        self,
        num_words: int,
        num_parts: int,
        num_subvectors: int,
        disjoint: bool,
        path: str | Path | None = None,
        iterations: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(num_words, num_parts, num_subvectors, disjoint=True)
        check_count(in_either("map.iterations"), iterations)
        check_seed(in_either("map.seed"), seed)
        if path is None:
            raise ValueError(f"give {in_either('map.path')} a .npy file with a vector for each word; it is missing")
        if -(-num_subvectors // num_parts) > num_words:
            raise ValueError(
                f"{num_words} words cannot fill the {-(-num_subvectors // num_parts)} clusters of a part; give "
                f"{in_either('num_subvectors')} at most {num_words * num_parts}, got {num_subvectors}"
            )
        self.path = Path(path)
        self.iterations = iterations
        self.seed = seed
        # A model that is read back has no need of the file; -1 stands for a number that is not known yet.
        dtype = torch.int16 if num_subvectors - 1 <= torch.iinfo(torch.int16).max else torch.int32
        self.register_buffer("numbers", torch.full((num_words, num_parts), -1, dtype=dtype))
        self._is_known = False

    def table(self) -> Integer[Tensor, "V K"]:
        """See :class:`SubvectorMap`.

        Raises:
            ValueError: If nothing was clustered, nor a saved map loaded.
        """
        if not self._is_known:
            self._is_known = bool((self.numbers >= 0).all())
        if not self._is_known:
            raise ValueError(
                "no clusters are known: neither were the sub-vectors given first values, nor was a saved map loaded"
            )
        return self.numbers

    def forward(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N K"]:
        """See :class:`SubvectorMap`.

        Raises:
            ValueError: See :meth:`table`.
        """
        return self.table()[words].long()

    def starting_vectors(self) -> Float[Tensor, "M P"] | None:
        """Cluster the vectors in the file: sets the map, and gives the centroids.

        Raises:
            ValueError: If there is no such file.
        """
        if not self.path.exists():
            raise ValueError(
                f"there is no file {self.path}; give {in_either('map.path')} a .npy file with a vector for each word"
            )
        matrix = self._matrix().astype(np.float32)
        if not np.isfinite(matrix).all():
            raise ValueError(f"{self._named} contains values that are not finite; fix the source model")
        parts = np.split(matrix, self.num_parts, axis=1)
        rng = np.random.default_rng(self.seed)
        centroids, numbers = [], []
        for part, vectors in enumerate(parts):
            start, stop = self.span(part)
            found, clusters = cluster(np.ascontiguousarray(vectors), stop - start, self.iterations, rng)
            centroids.append(found)
            numbers.append(start + clusters)
        self.numbers.copy_(torch.from_numpy(np.stack(numbers, 1)))
        return torch.from_numpy(np.concatenate(centroids))

    @property
    def _named(self) -> str:
        return f"{self.path}, which {in_either('map.path')} names,"

    def _matrix(self) -> Float[np.ndarray, "V _"]:
        """The file's vectors, mapped into memory.

        Raises:
            ValueError: If they do not fit the vocabulary or the parts.
        """
        try:
            matrix = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError) as error:
            raise ValueError(f"{self._named} cannot be read as a .npy file: {error}") from error
        if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind != "f":
            raise ValueError(f"{self._named} must hold one matrix of real numbers (V, D) in .npy format")
        if len(matrix) != self.num_words:
            raise ValueError(
                f"{self._named} holds {len(matrix)} vectors, but the vocabulary has {self.num_words} words; "
                "use a matrix made with the same vocabulary"
            )
        if matrix.shape[1] == 0 or matrix.shape[1] % self.num_parts:
            raise ValueError(
                f"{self._named} holds vectors of size {matrix.shape[1]}, which num_parts={self.num_parts} does "
                f"not divide; choose another {in_either('num_parts')}"
            )
        return matrix


def cluster(
    vectors: Float[np.ndarray, "N P"], num_clusters: int, iterations: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "clusters P"], Int[np.ndarray, " N"]]:
    """Lloyd's k-means: centroids, and the nearest of them for each vector.

    First centroids are drawn by their squared distance to those before, as k-means++ does, but several at a time
    (Bahmani et al. 2012), as one at a time takes too long for thousands of clusters.
    """
    centroids = vectors[rng.integers(len(vectors), size=1)]
    distances = vq(vectors, centroids)[1] ** 2
    while len(centroids) < num_clusters:
        size = min(-(-num_clusters // _SEEDING_ROUNDS), num_clusters - len(centroids))
        # The smallest of exponential waiting times at these rates: draws without replacement.  What has no distance
        # left waits for ever, and is taken only where there are fewer different vectors than clusters.
        with np.errstate(divide="ignore"):
            waiting = rng.exponential(size=len(vectors)) / distances
        drawn = vectors[np.argpartition(waiting, size - 1)[:size]]
        distances = np.minimum(distances, vq(vectors, drawn)[1] ** 2)
        centroids = np.concatenate([centroids, drawn])
    with warnings.catch_warnings():
        # A cluster that lost all its vectors keeps its centroid.
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        centroids, _ = kmeans2(vectors, centroids, iter=iterations, minit="matrix")
    # The labels that kmeans2 gives are those before its last step.
    return centroids, vq(vectors, centroids)[0].astype(np.int64)
