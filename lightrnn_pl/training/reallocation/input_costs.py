"""First-order cost of a reallocation on the input side, from the gradient of the loss with respect to input vectors.

If the row of word w changes from i to i', the network reads the vector X_i' instead of X_i.  Let G_w be the gradient of
the loss with respect to the vector that was read, summed over the occurrences of w.  To first order, the loss changes
by G_w . (X_i' - X_i), so G_w . X_i can be added to the row loss as the input cost of row i.  Columns are analogous.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from lightrnn_pl.data.batches import Batch
from lightrnn_pl.nn.cores import State, detach_state, reset_state
from lightrnn_pl.nn.language_model import LanguageModel


def input_costs(model: LanguageModel, batches: Iterable[Batch], device: torch.device) -> list[np.ndarray]:
    """The input costs of each word under each code, one array (V, side) per axis, in nats summed over ``batches``.

    They are zero for an axis whose codes are never read.  As in training, gradients are truncated at window boundaries.
    The caller sums the costs over ranks.
    """
    vectors = model.embedding.axis_vectors()
    allocation = model.allocation
    num_components = allocation.num_components
    gradients = [
        torch.zeros(allocation.num_words, axis_vector.shape[1], dtype=axis_vector.dtype, device=device)
        if axis_vector is not None
        else None
        for axis_vector in vectors
    ]
    training = model.training
    model.eval()
    state: State | None = None
    # Lightning disables gradients during validation, and cuDNN has no backward pass in evaluation mode.
    with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        for batch in batches:
            words, targets, mask, reset = (part.to(device) for part in batch)
            with torch.no_grad():
                steps = model.embedding(words, targets)
            steps.requires_grad_()
            hidden, state = model.core(steps, reset_state(state, reset))
            state = detach_state(state)
            loss = -model.output.log_probability(hidden, targets)[mask].sum()
            (gradient,) = torch.autograd.grad(loss, steps)
            by_step = gradient.unflatten(1, (-1, model.embedding.steps_per_word))
            for axis, total in enumerate(gradients):
                if total is None:
                    continue
                # The step of code d + 1 reads code d of the target; the first step reads the last code of the word.
                last = axis == num_components - 1
                read, step = (words, 0) if last else (targets, axis + 1)
                total.index_add_(0, read.flatten(), by_step[:, :, step].flatten(0, 1))
    model.train(training)
    return [
        np.zeros((allocation.num_words, side), np.float32)
        if total is None or axis_vector is None
        else (total @ axis_vector.t()).cpu().numpy()
        for total, axis_vector, side in zip(gradients, vectors, allocation.sides, strict=True)
    ]
