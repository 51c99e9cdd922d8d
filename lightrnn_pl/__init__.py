"""Compact word-level language models with very large vocabularies: LightRNN and slim embeddings.

Train a model with ``lightrnn-train`` or :func:`train`, then load the bundle that the run writes:

>>> from lightrnn_pl import load, train
>>> bundle = train(["data=text", "data.train=a.txt", "data.valid=b.txt"])  # doctest: +SKIP
>>> bundle = load("outputs/my-run/best.ckpt")  # doctest: +SKIP
>>> bundle.score(["a sentence ."])  # log-probability of each word  # doctest: +SKIP
>>> bundle.next_words("the cat sat on the", k=5)  # most likely next words  # doctest: +SKIP
>>> bundle.generate("the cat", num_words=20)  # sampled continuations  # doctest: +SKIP

:class:`Bundle` documents all of its methods.  A model can also be built from its layers, without a configuration:

>>> from lightrnn_pl import LanguageModel, LSTMCore, MultiComponentEmbedding, MultiComponentOutput, WordAllocation
>>> table = WordAllocation.random(10_000, (100, 100), seed=0)
>>> model = LanguageModel(MultiComponentEmbedding(table, 64), LSTMCore(64, 64), MultiComponentOutput(table, 64))

``LanguageModel`` initializes its layers; to use a layer alone, call its ``initialise`` first.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightrnn_pl.allocation.word_allocation import WordAllocation
    from lightrnn_pl.checkpoint import Bundle, load
    from lightrnn_pl.commands.python_train import train
    from lightrnn_pl.nn.cores import GRUCore, LSTMCore
    from lightrnn_pl.nn.embeddings import FullEmbedding, MultiComponentEmbedding, SlimEmbedding
    from lightrnn_pl.nn.language_model import LanguageModel
    from lightrnn_pl.nn.outputs import FullOutput, MultiComponentOutput, RowWordOutput, SlimOutput
    from lightrnn_pl.nn.sharing import ShuffledMap
    from lightrnn_pl.vocabulary import Vocabulary

    __version__: str

__all__ = [
    "Bundle",
    "FullEmbedding",
    "FullOutput",
    "GRUCore",
    "LSTMCore",
    "LanguageModel",
    "MultiComponentEmbedding",
    "MultiComponentOutput",
    "RowWordOutput",
    "ShuffledMap",
    "SlimEmbedding",
    "SlimOutput",
    "Vocabulary",
    "WordAllocation",
    "load",
    "train",
]

_MODULES = {
    "Bundle": "checkpoint",
    "FullEmbedding": "nn.embeddings",
    "FullOutput": "nn.outputs",
    "GRUCore": "nn.cores",
    "LSTMCore": "nn.cores",
    "LanguageModel": "nn.language_model",
    "MultiComponentEmbedding": "nn.embeddings",
    "MultiComponentOutput": "nn.outputs",
    "RowWordOutput": "nn.outputs",
    "ShuffledMap": "nn.sharing",
    "SlimEmbedding": "nn.embeddings",
    "SlimOutput": "nn.outputs",
    "Vocabulary": "vocabulary",
    "WordAllocation": "allocation.word_allocation",
    "load": "checkpoint",
    "train": "commands.python_train",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds. Commands must answer --help without it.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    if name == "__version__":
        return metadata.version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
