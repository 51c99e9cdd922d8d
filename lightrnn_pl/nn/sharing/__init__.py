"""Parameter sharing between words: maps from words to sub-vectors, and hashing of single elements."""

from lightrnn_pl.nn.sharing.base import SubvectorMap, default_parts, shared_count, subvector_count
from lightrnn_pl.nn.sharing.clustered import ClusteredMap
from lightrnn_pl.nn.sharing.hashed import HashedMap
from lightrnn_pl.nn.sharing.hashing import hashed_elements, hashed_vectors, xxhash32
from lightrnn_pl.nn.sharing.shuffled import ShuffledMap

__all__ = [
    "ClusteredMap",
    "HashedMap",
    "ShuffledMap",
    "SubvectorMap",
    "default_parts",
    "hashed_elements",
    "hashed_vectors",
    "shared_count",
    "subvector_count",
    "xxhash32",
]
