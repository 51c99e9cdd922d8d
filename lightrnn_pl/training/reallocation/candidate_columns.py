"""Column losses with other rows fed, asked of the network on a sample of contexts.

The fused pass over a window only knows the hidden states behind the true row.  Here the network goes step by step, and
at each word tries its candidate rows from the same state before it goes on with the true one.
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
def candidate_columns(
    model: LanguageModel,
    rows: Int[np.ndarray, "V n"],
    batches: Iterable[Batch],
    every: int,
    device: torch.device,
) -> tuple[Float[Tensor, "V n C"], Int[Tensor, " V"]]:
    """Sums over a sample of the occurrences of each word, and how many there were.

    Args:
        model: With a table of two axes.
        rows: Candidate rows of each word.
        batches: All of the text; the state is carried through all of it.
        every: One batch in so many is sampled.
        device: Where the model is.
    """
    output = model.output
    assert isinstance(output, LinearCodeOutput)
    (_, weight), (_, bias) = output.axis_parameters()
    row_vectors = model.embedding.axis_vectors()[0]
    assert row_vectors is not None
    candidates = torch.as_tensor(rows, dtype=torch.int64, device=device)
    num_words, number = rows.shape
    sums = torch.zeros(num_words, number, len(bias), dtype=weight.dtype, device=device)
    counts = torch.zeros(num_words, dtype=torch.int64, device=device)
    training = model.training
    model.eval()
    state: State | None = None
    for place, batch in enumerate(batches):
        words, targets, mask, reset = (part.to(device) for part in batch)
        if place % every:
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
            here = tuple(part[:, counted].contiguous() for part in before)
            for column in range(number):
                hidden, _ = model.core(row_vectors[candidates[word, column]][:, None], here)
                losses = -F.linear(hidden[:, 0], weight, bias).log_softmax(-1)
                sums[:, column].index_add_(0, word, losses)
    model.train(training)
    return sums, counts
