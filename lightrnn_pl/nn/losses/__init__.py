"""What training minimises: one file a strategy, all behind :class:`Loss`."""

from lightrnn_pl.nn.losses.base import Loss
from lightrnn_pl.nn.losses.exact import ExactLoss

__all__ = ["ExactLoss", "Loss"]
