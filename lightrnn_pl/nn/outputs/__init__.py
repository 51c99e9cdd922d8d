"""Output layers: one file a strategy, all behind :class:`Output`."""

from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.full import FullOutput
from lightrnn_pl.nn.outputs.multi_component import MultiComponentOutput

__all__ = ["FullOutput", "MultiComponentOutput", "Output"]
