"""Which trained numbers words share: maps from words to sub-vectors, one file a map, and hashing."""

from lightrnn_pl.nn.sharing.base import SubvectorMap, shared_count, subvectors_for
from lightrnn_pl.nn.sharing.clustered import ClusteredMap
from lightrnn_pl.nn.sharing.hashed import HashedMap
from lightrnn_pl.nn.sharing.hashing import hashed_elements, hashed_vectors, xxhash32
from lightrnn_pl.nn.sharing.shuffled import ShuffledMap

__all__ = [
    "ClusteredMap",
    "HashedMap",
    "ShuffledMap",
    "SubvectorMap",
    "hashed_elements",
    "hashed_vectors",
    "shared_count",
    "subvectors_for",
    "xxhash32",
]
