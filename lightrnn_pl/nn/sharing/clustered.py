"""Product quantization: words with similar sub-vectors in a trained model share them (Jégou et al. 2011).

The Slim Embedding paper mentions such learned codes as future work.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor
from typing_extensions import override

from lightrnn_pl.checks import check_count, check_seed
from lightrnn_pl.nn.sharing.base import SubvectorMap, describe_key

_SEEDING_ROUNDS = 64
"""Rounds in which initial centroids are drawn; with one round per cluster, the method would be k-means++."""


class ClusteredMap(SubvectorMap):
    """k-means of each part of V vectors; the sub-vector of a word is the centroid of its cluster.

    The parts are clustered separately, so their sets are always disjoint.  The file is read only when the sub-vectors
    are initialized (:meth:`initial_subvectors`), since the map is saved with the model.

    Args:
        num_words: V.
        num_parts: K.
        num_subvectors: M; part i has the clusters ``span(i)``.
        disjoint: Ignored, since the sets are always disjoint.
        path: A .npy file with a (V, D') matrix, in which row w belongs to the word with id w; K must divide D'.
        iterations: Number of iterations of k-means.
        seed: Seed of the initial centroids.

    Raises:
        ValueError: If ``path`` is missing or M is out of range; in :meth:`initial_subvectors`, if the file does not
            exist or does not match the vocabulary and the sizes.
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
        check_count(describe_key("map.iterations"), iterations)
        check_seed(describe_key("map.seed"), seed)
        if path is None:
            raise ValueError(f"{describe_key('map.path')} is missing; set it to a .npy file with one vector per word")
        if -(-num_subvectors // num_parts) > num_words:
            raise ValueError(
                f"{num_words} words are too few for {-(-num_subvectors // num_parts)} clusters per part; set "
                f"{describe_key('num_subvectors')} to at most {num_words * num_parts}, got {num_subvectors}"
            )
        self.path = Path(path)
        self.iterations = iterations
        self.seed = seed
        # -1 until the vectors are clustered or a saved map is loaded, which does not need the file.
        dtype = torch.int16 if num_subvectors - 1 <= torch.iinfo(torch.int16).max else torch.int32
        self.register_buffer("numbers", torch.full((num_words, num_parts), -1, dtype=dtype))
        self._is_defined = False

    @override
    def table(self) -> Integer[Tensor, "V K"]:
        """The stored numbers of all words.

        Raises:
            ValueError: If neither vectors were clustered nor a saved map was loaded.
        """
        if not self._is_defined:
            self._is_defined = bool((self.numbers >= 0).all())
        if not self._is_defined:
            raise ValueError("the map has no clusters yet; initialize the model or load a saved one")
        return self.numbers

    @override
    def forward(self, words: Int[Tensor, "*N"]) -> Int[Tensor, "*N K"]:
        return self.table()[words].long()

    @override
    def initial_subvectors(self) -> Float[Tensor, "M P"] | None:
        """Cluster the vectors in the file: sets the map, and returns the centroids.

        Raises:
            ValueError: If the file does not exist, cannot be read, or does not match the vocabulary and the sizes.
        """
        if not self.path.exists():
            raise ValueError(
                f"{self.path} does not exist; set {describe_key('map.path')} to a .npy file with one vector per word"
            )
        matrix = self._matrix().astype(np.float32)
        if not np.isfinite(matrix).all():
            raise ValueError(f"{self._source} contains values that are not finite; fix the source model")
        parts = np.split(matrix, self.num_parts, axis=1)
        rng = np.random.default_rng(self.seed)
        centroids, numbers = [], []
        for part, vectors in enumerate(parts):
            start, stop = self.span(part)
            means, clusters = cluster(np.ascontiguousarray(vectors), stop - start, self.iterations, rng)
            centroids.append(means)
            numbers.append(start + clusters)
        self.numbers.copy_(torch.from_numpy(np.stack(numbers, 1)))
        return torch.from_numpy(np.concatenate(centroids))

    @property
    def _source(self) -> str:
        return f"{self.path}, the value of {describe_key('map.path')},"

    def _matrix(self) -> Float[np.ndarray, "V _"]:
        """The vectors of the file, memory-mapped.

        Raises:
            ValueError: If they do not match the vocabulary or the number of parts.
        """
        try:
            matrix = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError) as error:
            raise ValueError(f"{self._source} cannot be read as a .npy file: {error}") from error
        if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind != "f":
            raise ValueError(f"{self._source} must be one matrix of real numbers (V, D) in .npy format")
        if len(matrix) != self.num_words:
            raise ValueError(
                f"{self._source} contains {len(matrix)} vectors, but the vocabulary has {self.num_words} words; "
                "use a matrix for the same vocabulary"
            )
        if matrix.shape[1] == 0 or matrix.shape[1] % self.num_parts:
            raise ValueError(
                f"{self._source} contains vectors of size {matrix.shape[1]}, which is not divisible by "
                f"num_parts={self.num_parts}; set another {describe_key('num_parts')}"
            )
        return matrix


def cluster(
    vectors: Float[np.ndarray, "N P"], num_clusters: int, iterations: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "clusters P"], Int[np.ndarray, " N"]]:
    """Lloyd's k-means: the centroids, and the number of the nearest centroid for each vector.

    Initial centroids are drawn with probabilities proportional to their squared distance to the previous ones, as in
    k-means++.  Several are drawn at a time (Bahmani et al. 2012), which is faster for thousands of clusters.
    """
    centroids = vectors[rng.integers(len(vectors), size=1)]
    distances = vq(vectors, centroids)[1] ** 2
    while len(centroids) < num_clusters:
        size = min(-(-num_clusters // _SEEDING_ROUNDS), num_clusters - len(centroids))
        # The smallest of exponential waiting times with these rates are a sample without replacement.  Vectors equal to
        # a centroid wait forever, and are drawn only if there are fewer distinct vectors than clusters.
        with np.errstate(divide="ignore"):
            waiting = rng.exponential(size=len(vectors)) / distances
        drawn = vectors[np.argpartition(waiting, size - 1)[:size]]
        distances = np.minimum(distances, vq(vectors, drawn)[1] ** 2)
        centroids = np.concatenate([centroids, drawn])
    with warnings.catch_warnings():
        # An empty cluster keeps its centroid.
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        centroids, _ = kmeans2(vectors, centroids, iter=iterations, minit="matrix")
    # The labels returned by kmeans2 do not belong to the final centroids.
    return centroids, vq(vectors, centroids)[0].astype(np.int64)
