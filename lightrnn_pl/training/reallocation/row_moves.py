"""What it costs to move words to other rows, for outputs that predict the row and then the word itself.

A word keeps its vector, so a move changes three losses, which are estimated with all vectors fixed:

    row         of the word's own occurrences: exact, since it is linear in sums of hidden states (Equation 6)
    word        of the word's own occurrences: it competes with the words of the new row instead of those of the old row
    competition of other words: those of the new row get a competitor, and those of the old row lose one

The last two need the logits of all words, so they are measured in a sample of contexts.  Only the words that occur
there can be moved, so memory grows with their number.  Each word is moved as if all others stayed.  With two steps per
word, a moved word also changes what the second step reads, which is not estimated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from lightrnn_pl.data.batches import Batch
from lightrnn_pl.distributed import all_reduce
from lightrnn_pl.evaluation.perplexity import hidden_states
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import WordVectorOutput

_MAX_LOGITS = 2**25
"""Logits that are computed at a time: 128 MiB of float32."""

_CHUNK = 4096
"""Words whose row losses are computed at a time."""


@dataclass(frozen=True)
class RowMoves:
    """Losses in nats, summed over the text of all ranks.

    Attributes:
        words: The words of the sample, which can be moved.
        row: Row loss of the occurrences of each of these words, if it were in each row.
        word: Word loss of each of these words in each row, and the loss that its presence causes the other words of
            that row.  Only differences between rows are meaningful.
        before: Measured row loss and word loss of the text with the current rows.
        counts: Occurrences of each word of the vocabulary.
        word_nll: Mean loss of the occurrences of each word of the vocabulary; NaN without any.
    """

    words: Int[np.ndarray, " S"]
    row: Float[np.ndarray, "S R"]
    word: Float[np.ndarray, "S R"]
    before: tuple[float, float]
    counts: Int[Tensor, " V"]
    word_nll: Float[np.ndarray, " V"]


@torch.no_grad()
def row_moves(model: LanguageModel, batches: Iterable[Batch], every: int, device: torch.device) -> RowMoves:
    """Estimate the losses with every word of a sample in every row.

    Args:
        model: A model whose output is a :class:`WordVectorOutput`.
        batches: This rank's share of the text, which is read twice; the hidden state is carried from batch to batch.
        every: Compute the logits of all words in one batch out of ``every``.
        device: The device of the model.
    """
    output, allocation = model.output, model.allocation
    assert isinstance(output, WordVectorOutput)
    num_words, num_rows = allocation.num_words, allocation.sides[0]
    dim = output.hidden_dim
    sampled = torch.zeros(num_words, dtype=torch.int64, device=device)
    for batch in islice(batches, 0, None, every):
        sampled += batch.targets[batch.mask].to(device).bincount(minlength=num_words)
    sampled = all_reduce(sampled, device)
    selected = sampled.nonzero()[:, 0]
    positions = torch.full_like(sampled, -1)
    positions[selected] = torch.arange(len(selected), device=device)

    counts, by_word = torch.zeros(2, num_words, dtype=torch.float64, device=device).unbind()
    partition_sums = torch.zeros(len(selected), dtype=torch.float64, device=device)
    hidden_sums = torch.zeros(len(selected), dim, dtype=torch.float64, device=device)
    losses = torch.zeros(2, dtype=torch.float64, device=device)
    own = torch.zeros(len(selected), num_rows, device=device)
    others = torch.zeros(num_rows, len(selected), device=device)
    for index, (hidden, targets, mask) in enumerate(hidden_states(model, batches, device)):
        words = targets[mask]
        first, second = (step.view(*targets.shape, dim)[mask] for step in output.hidden_by_axis(hidden, targets))
        row_loss, word_loss = (loss[mask].double() for loss in output.axis_losses(hidden, targets))
        counts.index_add_(0, words, torch.ones_like(row_loss))
        losses += torch.stack([row_loss.sum(), word_loss.sum()])
        by_word.index_add_(0, words, row_loss + word_loss)
        movable = positions[words] >= 0
        where, states = positions[words[movable]], first[movable]
        hidden_sums.index_add_(0, where, states.double())
        partition_sums.index_add_(0, where, output.row_logits(states).logsumexp(-1).double())
        if index % every == 0:
            size = max(1, _MAX_LOGITS // num_words)
            for block_hidden, block_words in zip(second.split(size), words.split(size), strict=True):
                _add_block(output, block_hidden, block_words, selected, positions[block_words], own, others)
    everything = (counts, hidden_sums, partition_sums, losses, by_word, own, others)
    counts, hidden_sums, partition_sums, losses, by_word, own, others = (
        all_reduce(sums, device) for sums in everything
    )
    weight, bias = (part.double() for part in output.row_parameters())
    row = torch.empty_like(own)
    for chunk in torch.arange(len(selected), device=device).split(_CHUNK):
        total = partition_sums[chunk, None] - counts[selected[chunk], None] * bias
        row[chunk] = torch.addmm(total, hidden_sums[chunk], weight.T, alpha=-1).float()
    own *= (counts[selected] / sampled[selected])[:, None]
    own += others.T * float(counts.sum() / sampled.sum())
    mean = torch.where(counts > 0, by_word / counts, torch.nan)
    before = losses.tolist()
    return RowMoves(
        selected.cpu().numpy(),
        row.cpu().numpy(),
        own.cpu().numpy(),
        (before[0], before[1]),
        counts.long(),
        mean.cpu().numpy(),
    )


def _add_block(
    output: WordVectorOutput,
    hidden: Float[Tensor, "N H"],
    words: Int[Tensor, " N"],
    selected: Int[Tensor, " S"],
    positions: Int[Tensor, " N"],
    own: Float[Tensor, "S R"],
    others: Float[Tensor, "R S"],
) -> None:
    """Add the losses of a block of contexts, in which ``words`` occurred.

    Args:
        output: The output.
        hidden: The hidden states that predicted the words.
        words: The words.
        selected: The words that can be moved, which include ``words``.
        positions: The index of each of ``words`` in ``selected``.
        own: Loss of the word that occurred, for each row.
        others: Loss that each selected word adds to that of the word that occurred by its presence in the same row.
    """
    codes, table = output.allocation.codes.long(), output.allocation.words()
    rows, contexts = codes[words, 0], torch.arange(len(words), device=words.device)
    logits = output.word_logits(hidden).float()
    by_cell = logits[:, table.clamp(min=0).flatten()].view(len(words), *table.shape)
    partitions = by_cell.masked_fill(table < 0, -torch.inf).logsumexp(-1)
    target, partition = logits[contexts, words][:, None], partitions[contexts, rows][:, None]
    moved = torch.logaddexp(partitions, target) - target
    own.index_add_(0, positions, moved.scatter(1, rows[:, None], partition - target))
    # A word in another row would add exp(logit) to the sum over the row of the word that occurred; a word of the same
    # row has done so already.
    share = logits[:, selected] - partition
    present = codes[None, selected, 0] == rows[:, None]
    added = torch.where(present, -torch.log1p(-share.exp().clamp(max=1 - 1e-6)), F.softplus(share))
    others.index_add_(0, rows, added.scatter(1, positions[:, None], 0.0))
