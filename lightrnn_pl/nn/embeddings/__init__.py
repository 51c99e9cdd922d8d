"""Input layers: one file a strategy, all behind :class:`Embedding`."""

from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.full import FullEmbedding
from lightrnn_pl.nn.embeddings.multi_component import MultiComponentEmbedding
from lightrnn_pl.nn.embeddings.word import WordEmbedding

__all__ = ["Embedding", "FullEmbedding", "MultiComponentEmbedding", "WordEmbedding"]
