"""What a reallocation minimises: one file a strategy, all behind :class:`Objective`."""

from lightrnn_pl.training.objectives.base import Losses, Objective, Proposal
from lightrnn_pl.training.objectives.candidates import CandidatesObjective
from lightrnn_pl.training.objectives.columns import ColumnsObjective
from lightrnn_pl.training.objectives.joint import JointObjective
from lightrnn_pl.training.objectives.staged import StagedObjective

__all__ = [
    "CandidatesObjective",
    "ColumnsObjective",
    "JointObjective",
    "Losses",
    "Objective",
    "Proposal",
    "StagedObjective",
]
