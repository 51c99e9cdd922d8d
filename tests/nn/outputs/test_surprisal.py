"""The surprisal of a softmax in chunks, with and without stored exponentials, compared with PyTorch's cross-entropy."""

import pytest
import torch
from torch.nn import functional as F

from lightrnn_pl.nn.outputs.softmax import split_range
from lightrnn_pl.nn.outputs.surprisal import surprisal
from lightrnn_pl.nn.outputs.vector_sources import MatrixRows


def random_parts(scale: float = 1.0) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = (6, 4), (11, 4), (11,)
    return [(scale * torch.randn(shape, dtype=torch.float64)).requires_grad_() for shape in shapes]


WORDS = torch.tensor([0, 10, 3, 3, 7, 4])


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", [1, 3, 11])
def test_equals_cross_entropy_with_gradients(size, keep, scale):
    parts = random_parts(scale)
    weights = torch.rand(6, dtype=torch.float64)
    expected = F.cross_entropy(F.linear(*parts), WORDS, reduction="none")
    query, weight, bias = parts
    actual = surprisal(query, (weight,), bias, WORDS, MatrixRows(), split_range(11, size), keep)
    torch.testing.assert_close(actual, expected)
    expected_gradients = torch.autograd.grad((weights * expected).sum(), parts)
    # The second pass computes the logits again.
    for retain in (True, False):
        gradients = torch.autograd.grad((weights * actual).sum(), parts, retain_graph=retain)
        torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("keep", [True, False])
def test_log_partition(keep):
    parts = random_parts()
    expected = F.linear(*parts).logsumexp(-1)
    query, weight, bias = parts
    actual = surprisal(query, (weight,), bias, None, MatrixRows(), split_range(11, 4), keep)
    torch.testing.assert_close(actual, expected)
    results = (torch.autograd.grad((values**2).sum(), parts) for values in (actual, expected))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("keep", [True, False])
def test_mixed_precision_never_gives_a_probability_above_one(keep):
    query, weight, bias = (part.detach().float() for part in random_parts(10.0))
    with torch.autocast("cpu", torch.bfloat16):
        losses = surprisal(query, (weight,), bias, WORDS, MatrixRows(), split_range(11, 4), keep)
    assert losses.dtype == torch.float32 and (losses >= 0).all()
