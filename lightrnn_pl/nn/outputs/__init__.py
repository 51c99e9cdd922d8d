"""Output layers: one file a strategy, all behind :class:`Output`."""

from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.full import FullOutput
from lightrnn_pl.nn.outputs.multi_component import MultiComponentOutput
from lightrnn_pl.nn.outputs.softmax import SoftmaxOutput

__all__ = ["FullOutput", "MultiComponentOutput", "Output", "SoftmaxOutput"]
