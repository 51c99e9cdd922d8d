"""Training losses; all implement :class:`Loss`."""

from lightrnn_pl.nn.losses.base import Loss
from lightrnn_pl.nn.losses.blackout import BlackoutLoss
from lightrnn_pl.nn.losses.exact import ExactLoss
from lightrnn_pl.nn.losses.importance_sampling import ImportanceSamplingLoss
from lightrnn_pl.nn.losses.nce import NceLoss
from lightrnn_pl.nn.losses.sampled import SampledLoss

__all__ = ["BlackoutLoss", "ExactLoss", "ImportanceSamplingLoss", "Loss", "NceLoss", "SampledLoss"]
