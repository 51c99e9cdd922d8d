"""What it costs to move each word to each row, for outputs that predict the row and then the word itself.

A word keeps its vector, so a move changes three losses, which are estimated with all vectors fixed:

    row         of the word's own occurrences: exact, since it is linear in sums of hidden states (Equation 6)
    word        of the word's own occurrences: it competes with the words of the new row instead of those of the old row
    competition of other words: those of the new row get a competitor, and those of the old row lose one

The last two need the logits of all words, so they are measured in a sample of contexts.  Each word is moved as if all
others stayed.  With two steps per word, a moved word also changes what the second step reads, which is not estimated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class RowMoves:
    """Losses in nats, summed over the text of all ranks.

    Attributes:
        row: Row loss of the occurrences of each word, if it were in each row.
        word: Word loss of each word in each row, and the loss that its presence causes the other words of that row.
            Only differences between rows are meaningful.  Words outside the sample have +inf in all but their own row.
        before: Measured row loss and word loss with the current rows.
        counts: Occurrences of each word.
        word_nll: Mean loss of the occurrences of each word; NaN without any.
    """

    row: Float[np.ndarray, "V R"]
    word: Float[np.ndarray, "V R"]
    before: tuple[float, float]
    counts: Int[Tensor, " V"]
    word_nll: Float[np.ndarray, " V"]


@torch.no_grad()
def row_moves(model: LanguageModel, batches: Iterable[Batch], every: int, device: torch.device) -> RowMoves:
    """Estimate the losses with every word in every row.

    Args:
        model: A model whose output is a :class:`WordVectorOutput`.
        batches: This rank's share of the text; the hidden state is carried from batch to batch.
        every: Compute the logits of all words in one batch out of ``every``.
        device: The device of the model.
    """
    output, allocation = model.output, model.allocation
    assert isinstance(output, WordVectorOutput)
    num_words, num_rows = allocation.num_words, allocation.sides[0]
    dim = output.hidden_dim
    counts, sampled, partition_sums, by_word = torch.zeros(4, num_words, dtype=torch.float64, device=device).unbind()
    hidden_sums = torch.zeros(num_words, dim, dtype=torch.float64, device=device)
    losses = torch.zeros(2, dtype=torch.float64, device=device)
    own, others = torch.zeros(num_words, num_rows, device=device), torch.zeros(num_rows, num_words, device=device)
    for index, (hidden, targets, mask) in enumerate(hidden_states(model, batches, device)):
        words = targets[mask]
        first, second = (step.view(*targets.shape, dim)[mask] for step in output.hidden_by_axis(hidden, targets))
        row_loss, word_loss = (loss[mask].double() for loss in output.axis_losses(hidden, targets))
        counts.index_add_(0, words, torch.ones_like(row_loss))
        hidden_sums.index_add_(0, words, first.double())
        partition_sums.index_add_(0, words, output.row_logits(first).logsumexp(-1).double())
        losses += torch.stack([row_loss.sum(), word_loss.sum()])
        by_word.index_add_(0, words, row_loss + word_loss)
        if index % every == 0:
            sampled.index_add_(0, words, torch.ones_like(row_loss))
            size = max(1, _MAX_LOGITS // num_words)
            for block_hidden, block_words in zip(second.split(size), words.split(size), strict=True):
                _add_block(output, block_hidden, block_words, own, others)
    everything = (counts, sampled, hidden_sums, partition_sums, losses, by_word, own, others)
    counts, sampled, hidden_sums, partition_sums, losses, by_word, own, others = (
        all_reduce(sums, device) for sums in everything
    )
    weight, bias = (part.double() for part in output.row_parameters())
    row = partition_sums[:, None] - hidden_sums @ weight.T - counts[:, None] * bias
    word = own * (counts / sampled.clamp(min=1))[:, None] + others.T * (counts.sum() / sampled.sum().clamp(min=1))
    current = allocation.codes[:, :1].long()
    unseen = torch.full_like(word, torch.inf).scatter(1, current, word.gather(1, current))
    word = torch.where((sampled > 0)[:, None], word, unseen)
    mean = torch.where(counts > 0, by_word / counts, torch.nan)
    before = losses.tolist()
    return RowMoves(
        row.float().cpu().numpy(),
        word.float().cpu().numpy(),
        (before[0], before[1]),
        counts.long(),
        mean.cpu().numpy(),
    )


def _add_block(
    output: WordVectorOutput,
    hidden: Float[Tensor, "N H"],
    words: Int[Tensor, " N"],
    own: Float[Tensor, "V R"],
    others: Float[Tensor, "R V"],
) -> None:
    """Add the losses of a block of contexts, in which ``words`` occurred.

    Args:
        output: The output.
        hidden: The hidden states that predicted the words.
        words: The words.
        own: Loss of the word that occurred, for each row.
        others: Loss that each word adds to that of the word that occurred by its presence in the same row.
    """
    codes, table = output.allocation.codes.long(), output.allocation.words()
    rows, positions = codes[words, 0], torch.arange(len(words), device=words.device)
    logits = output.word_logits(hidden).float()
    by_cell = logits[:, table.clamp(min=0).flatten()].view(len(words), *table.shape)
    partitions = by_cell.masked_fill(table < 0, -torch.inf).logsumexp(-1)
    target, partition = logits[positions, words][:, None], partitions[positions, rows][:, None]
    moved = torch.logaddexp(partitions, target) - target
    own.index_add_(0, words, moved.scatter(1, rows[:, None], partition - target))
    # A word in another row would add exp(logit) to the sum over the row of the word that occurred; a word of the same
    # row has done so already.
    share = logits - partition
    present = codes[None, :, 0] == rows[:, None]
    added = torch.where(present, -torch.log1p(-share.exp().clamp(max=1 - 1e-6)), F.softplus(share))
    others.index_add_(0, rows, added.scatter(1, words[:, None], 0.0))
