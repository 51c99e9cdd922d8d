"""Distillation: training on the predictions of a larger model, the teacher (Hinton et al. 2015), with ``teacher=PATH``.

    loss = -sum over codes c of q(c) log P(c)        q = (1 - weight) [c is the true code] + weight P_teacher(c)

The cross entropy is exact, over the whole vocabulary for one code per word.  For several codes, it is the sum over the
axes, given the true codes before: the teacher's probability of a row is the sum of those of its words, and its
probability of a word given the row is normalized over the words of the row.

The teacher reads the same text alongside, with a state of its own.  Its probabilities of all words at all positions of
a window are in memory at the same time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.checks import check_number
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.losses import ExactLoss
from lightrnn_pl.nn.outputs import CodeOutput, Output, SoftmaxOutput
from lightrnn_pl.types import Hidden, Words, WordScores
from lightrnn_pl.vocabulary import Vocabulary


class Distillation:
    """A teacher and its state.  It is no module, so it is neither trained, nor stored in checkpoints or bundles.

    Args:
        teacher: A model with one code per word.
        weight: The weight of the teacher's distribution, from 0 to 1.

    Attributes:
        state: The state of the teacher after the last window; None before the first one.

    Raises:
        ValueError: If words have several codes, or the weight is out of range.
    """

    def __init__(self, teacher: Bundle, weight: float) -> None:
        check_teacher_weight(weight)
        if teacher.model.allocation.num_components > 1:
            raise ValueError(
                f"teacher has {teacher.model.allocation.num_components} codes per word, but its probabilities of all "
                "words are needed; use a model with one code per word, such as model=full"
            )
        self.weight = float(weight)
        self._teacher, self._vocabulary = teacher.model.eval(), teacher.vocabulary
        self.state: State | None = None

    def __deepcopy__(self, memo: Any) -> Distillation:
        # Averages of the weights copy the module.
        return self

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Check that the teacher has the words of the run.

        Raises:
            ValueError: If it has other words.
        """
        if vocabulary.words != self._vocabulary.words:
            raise ValueError(
                f"teacher has another vocabulary ({len(self._vocabulary):,} words) than the training text "
                f"({len(vocabulary):,} words); train the teacher on the same corpus with the same data.vocabulary"
            )

    def check_student(self, model: LanguageModel) -> None:
        """Check that the cross entropy of a model can be computed.

        Raises:
            ValueError: If it cannot.
        """
        if not isinstance(model.loss, ExactLoss):
            raise ValueError(
                f"teacher requires the probabilities of all words, which {type(model.loss).__name__} does not compute; "
                "use model/loss=exact"
            )
        if not isinstance(model.output, SoftmaxOutput | CodeOutput):
            raise ValueError(
                f"teacher cannot be used with {type(model.output).__name__}; use an output with one softmax over the "
                "vocabulary or over the codes of a word, such as model/output=full or row_word"
            )

    def move_to(self, device: torch.device) -> None:
        """Move the teacher and its state to a device."""
        self._teacher.to(device)
        if self.state is not None:
            self.state = tuple(part.to(device) for part in self.state)

    def losses(self, output: Output, hidden: Hidden, batch: Batch) -> tuple[WordScores, WordScores]:
        """The loss of each target and its negative log-likelihood (detached), both (B, T).

        Args:
            output: The output of the student.
            hidden: The hidden states of the student after dropout.
            batch: The window, which the teacher reads too.
        """
        with torch.no_grad():
            own, self.state = self._teacher.hidden(batch.inputs, batch.targets, self.state, batch.reset)
            steps = own.shape[1] // batch.targets.shape[1]
            probabilities = self._teacher.output.log_probabilities(own[:, ::steps].flatten(0, 1)).exp()
        return distillation_losses(output, hidden, batch.targets, probabilities, self.weight)


def check_teacher_weight(weight: object) -> None:
    """Check the weight of the teacher's distribution.

    Raises:
        ValueError: If it is not a number from 0 to 1.
    """
    check_number("teacher_weight", weight, at_least=0, at_most=1)


def distillation_losses(
    output: Output, hidden: Hidden, targets: Words, probabilities: Float[Tensor, "N V"], weight: float
) -> tuple[WordScores, WordScores]:
    """The loss of each target and its negative log-likelihood (detached), both (B, T).

    Args:
        output: The output of the student: one softmax over the vocabulary, or one per code.
        hidden: The hidden states of the student.
        targets: The targets.
        probabilities: The teacher's probability of each word at each of the N = B T positions.
        weight: The weight of the teacher's distribution.
    """
    if isinstance(output, CodeOutput):
        allocation = output.allocation
        codes = allocation.encode(targets).flatten(0, 1)
        by_cell = probabilities.new_zeros(len(codes), math.prod(allocation.sides))
        by_cell[:, allocation.cells()] = probabilities
        losses = torch.zeros_like(by_cell[:, 0])
        for axis, states in enumerate(output.hidden_by_axis(hidden, targets)):
            shares = _shares(code_probabilities(by_cell, allocation, axis, codes), codes[:, axis], weight)
            prefixes = allocation.prefixes(codes, axis)
            losses = losses - output.expected_code_log_probability(axis, states, prefixes, shares)
        with torch.no_grad():
            nll = -output.log_probability(hidden, targets)
    else:
        logs = output.log_probabilities(hidden.flatten(0, 1))
        losses = -(_shares(probabilities, targets.flatten(), weight) * logs).sum(-1)
        nll = -logs.detach().gather(1, targets.flatten()[:, None])
    return losses.view(targets.shape), nll.view(targets.shape)


def code_probabilities(
    by_cell: Float[Tensor, "N cells"], allocation: WordAllocation, axis: int, codes: Int[Tensor, "N k"]
) -> Float[Tensor, "N side"]:
    """The probability of each code of ``axis``, given the true codes before it.

    Args:
        by_cell: The probability of the word in each cell; 0 for empty cells.
        allocation: The word allocation.
        axis: The axis.
        codes: The true codes.
    """
    prefixes = allocation.prefixes(codes, axis)
    by_code = by_cell.view(len(codes), math.prod(allocation.sides[:axis]), allocation.sides[axis], -1)
    joint = by_code[torch.arange(len(codes), device=codes.device), prefixes].sum(-1)
    return joint / joint.sum(-1, keepdim=True).clamp(min=torch.finfo(joint.dtype).tiny)


def _shares(teacher: Float[Tensor, "N C"], targets: Int[Tensor, " N"], weight: float) -> Float[Tensor, "N C"]:
    """q: the teacher's probabilities and the targets, mixed."""
    return (weight * teacher).scatter_add_(1, targets[:, None], teacher.new_full((len(targets), 1), 1 - weight))
