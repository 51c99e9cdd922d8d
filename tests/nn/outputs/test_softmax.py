"""Memory of outputs with one softmax over the vocabulary."""

import torch

from lightrnn_pl.nn.outputs import FullOutput
from lightrnn_pl.testing.softmax_output import TensorRecorder
from lightrnn_pl.testing.utilities import random_allocation


def test_only_one_chunk_of_logits_is_stored():
    num_words, hidden_dim, positions = 500, 2, 6
    output = FullOutput(random_allocation(num_words, (num_words,)), hidden_dim)
    output.initialise(0.5)
    hidden = torch.randn(1, positions, hidden_dim, requires_grad=True)
    largest = {}
    for chunk_size in (None, 7):
        output.chunk_size = chunk_size
        with TensorRecorder() as recorder:
            output.log_probability(hidden, torch.arange(positions)[None]).sum().backward()
            output.top(hidden[0].detach(), 5)
        largest[chunk_size] = recorder.max_numel
    # With chunks, the gradient of the weights is the largest tensor.
    assert largest == {None: positions * num_words, 7: num_words * hidden_dim}


def test_logits_are_computed_at_once_if_they_fit_into_256_mib():
    output = FullOutput(random_allocation(11, (11,)), 2)
    assert output._spans(100) == [(0, 11)]
    assert output._spans(2**24) == [(0, 4), (4, 8), (8, 11)]
    output.chunk_size = 6
    assert output._spans(100) == output._spans(2**24) == [(0, 6), (6, 11)]
