"""What all single softmaxes inherit, beside what their contract says of each."""

import torch

from lightrnn_pl.nn.outputs import FullOutput
from lightrnn_pl.testing.output import Largest, random_table


def test_a_chunk_of_scores_is_all_that_is_held():
    num_words, hidden_dim, positions = 500, 2, 6
    output = FullOutput(random_table(num_words, (num_words,)), hidden_dim)
    output.initialise(0.5)
    hidden = torch.randn(1, positions, hidden_dim, requires_grad=True)
    largest = {}
    for chunk_size in (None, 7):
        output.chunk_size = chunk_size
        with Largest() as made:
            output.log_probability(hidden, torch.arange(positions)[None]).sum().backward()
            output.top(hidden[0].detach(), 5)
        largest[chunk_size] = made.numel
    # The gradient of the weights is what is left.
    assert largest == {None: positions * num_words, 7: num_words * hidden_dim}


def test_scores_are_held_whole_while_they_fit_into_256_mib():
    output = FullOutput(random_table(11, (11,)), 2)
    assert output._spans(100) == [(0, 11)]
    assert output._spans(2**24) == [(0, 4), (4, 8), (8, 11)]
    output.chunk_size = 6
    assert output._spans(100) == output._spans(2**24) == [(0, 6), (6, 11)]
