"""Embeddings, the input layers of the language model; all implement :class:`Embedding`."""

from lightrnn_pl.nn.embeddings.adaptive import AdaptiveEmbedding
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.embeddings.char_cnn import CharCNNEmbedding
from lightrnn_pl.nn.embeddings.full import FullEmbedding
from lightrnn_pl.nn.embeddings.hashed import HashedEmbedding
from lightrnn_pl.nn.embeddings.multi_component import MultiComponentEmbedding
from lightrnn_pl.nn.embeddings.projected import ProjectedEmbedding
from lightrnn_pl.nn.embeddings.slim import SlimEmbedding
from lightrnn_pl.nn.embeddings.word import WordEmbedding

__all__ = [
    "AdaptiveEmbedding",
    "CharCNNEmbedding",
    "Embedding",
    "FullEmbedding",
    "HashedEmbedding",
    "MultiComponentEmbedding",
    "ProjectedEmbedding",
    "SlimEmbedding",
    "WordEmbedding",
]
