"""Objectives of a reallocation, one per file; all derive from :class:`Objective`."""

from lightrnn_pl.training.reallocation.objectives.base import LossProvider, Objective, Proposal
from lightrnn_pl.training.reallocation.objectives.candidates import CandidatesObjective
from lightrnn_pl.training.reallocation.objectives.columns import ColumnsObjective
from lightrnn_pl.training.reallocation.objectives.joint import JointObjective
from lightrnn_pl.training.reallocation.objectives.rows import RowsObjective
from lightrnn_pl.training.reallocation.objectives.staged import StagedObjective

__all__ = [
    "CandidatesObjective",
    "ColumnsObjective",
    "JointObjective",
    "LossProvider",
    "Objective",
    "Proposal",
    "RowsObjective",
    "StagedObjective",
]
