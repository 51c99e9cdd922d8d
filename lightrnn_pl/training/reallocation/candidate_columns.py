"""Column losses with other rows as inputs, measured on a sample of contexts.

A pass over whole windows yields the hidden states after the current row of each word only.  Here, the network runs step
by step.  At each word, it reads each candidate row from the same state, and then continues with the current row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from lightrnn_pl.data.batches import Batch
from lightrnn_pl.nn.cores import State, reset_state
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import LinearCodeOutput


@torch.no_grad()
def candidate_column_losses(
    model: LanguageModel,
    rows: Int[np.ndarray, "V n"],
    batches: Iterable[Batch],
    every: int,
    device: torch.device,
) -> tuple[Float[Tensor, "V n C"], Int[Tensor, " V"]]:
    """Column losses of each word under each candidate row, summed over a sample of its occurrences.

    Args:
        model: A model whose words have two codes.
        rows: Candidate rows of each word.
        batches: The whole text; the hidden state is carried from batch to batch.
        every: Sample one batch in ``every``; the others only update the hidden state.
        device: The device of the model.

    Returns:
        The sums in nats, and the number of sampled occurrences of each word.
    """
    output = model.output
    assert isinstance(output, LinearCodeOutput)
    (_, weight), (_, bias) = output.axis_parameters()
    row_vectors = model.embedding.axis_vectors()[0]
    assert row_vectors is not None
    candidates = torch.as_tensor(rows, dtype=torch.int64, device=device)
    num_words, num_candidates = rows.shape
    sums = torch.zeros(num_words, num_candidates, len(bias), dtype=weight.dtype, device=device)
    counts = torch.zeros(num_words, dtype=torch.int64, device=device)
    training = model.training
    model.eval()
    state: State | None = None
    for batch_index, batch in enumerate(batches):
        words, targets, mask, reset = (part.to(device) for part in batch)
        if batch_index % every:
            _, state = model.hidden(words, targets, state, reset)
            continue
        state = reset_state(state, reset)
        steps = model.embedding(words, targets)
        for time in range(words.shape[1]):
            _, before = model.core(steps[:, 2 * time : 2 * time + 1], state)
            _, state = model.core(steps[:, 2 * time + 1 : 2 * time + 2], before)
            counted = mask[:, time]
            if not counted.any():
                continue
            word = targets[counted, time]
            counts.index_add_(0, word, torch.ones_like(word))
            state_before = tuple(part[:, counted].contiguous() for part in before)
            for candidate in range(num_candidates):
                hidden, _ = model.core(row_vectors[candidates[word, candidate]][:, None], state_before)
                losses = -F.linear(hidden[:, 0], weight, bias).log_softmax(-1)
                sums[:, candidate].index_add_(0, word, losses)
    model.train(training)
    return sums, counts
