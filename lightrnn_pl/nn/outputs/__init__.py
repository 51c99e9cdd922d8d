"""Outputs, the output layers of the language model; all implement :class:`Output`."""

from lightrnn_pl.nn.outputs.adaptive import AdaptiveOutput
from lightrnn_pl.nn.outputs.adaptive_vectors import AdaptiveVectorOutput
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.full import FullOutput
from lightrnn_pl.nn.outputs.hashed import HashedOutput
from lightrnn_pl.nn.outputs.hierarchical import HierarchicalOutput
from lightrnn_pl.nn.outputs.multi_component import MultiComponentOutput
from lightrnn_pl.nn.outputs.projected import ProjectedOutput
from lightrnn_pl.nn.outputs.row_word import RowWordOutput
from lightrnn_pl.nn.outputs.slim import SlimOutput
from lightrnn_pl.nn.outputs.softmax import SoftmaxOutput
from lightrnn_pl.nn.outputs.word_codes import CodeOutput, LinearCodeOutput, WordVectorOutput

__all__ = [
    "AdaptiveOutput",
    "AdaptiveVectorOutput",
    "CodeOutput",
    "FullOutput",
    "HashedOutput",
    "HierarchicalOutput",
    "LinearCodeOutput",
    "MultiComponentOutput",
    "Output",
    "ProjectedOutput",
    "RowWordOutput",
    "SlimOutput",
    "SoftmaxOutput",
    "WordVectorOutput",
]
