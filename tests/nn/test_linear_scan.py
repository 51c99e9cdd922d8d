"""Linear recurrences: the parallel scan compared with a loop, and the gradients with finite differences."""

import pytest
import torch

from lightrnn_pl.nn import linear_scan as scans
from lightrnn_pl.nn.linear_scan import linear_scan, parallel_scan, sequential_scan


def random_recurrence(length: int) -> list[torch.Tensor]:
    torch.manual_seed(length)
    shapes = (2, length, 3), (2, length, 3), (2, 3)
    first, *others = (torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    return [first, *others]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 33])
def test_all_scans_equal_a_loop(length):
    coefficients, inputs, initial = (part.detach() for part in random_recurrence(length))
    hidden, expected = initial, []
    for step in range(length):
        hidden = coefficients[:, step] * hidden + inputs[:, step]
        expected.append(hidden)
    torch.testing.assert_close(linear_scan(coefficients, inputs, initial), torch.stack(expected, 1))
    torch.testing.assert_close(parallel_scan(coefficients, inputs), sequential_scan(coefficients, inputs))


@pytest.mark.parametrize("scan", [sequential_scan, parallel_scan])
@pytest.mark.parametrize("length", [1, 2, 6])
def test_gradients(length, scan, monkeypatch):
    monkeypatch.setattr(scans, "scan", scan)
    assert torch.autograd.gradcheck(linear_scan, random_recurrence(length))


def test_long_recurrences_are_stable():
    coefficients, inputs = torch.full((1, 4000, 1), 0.01), torch.ones(1, 4000, 1)
    for scan in (sequential_scan, parallel_scan):
        torch.testing.assert_close(scan(coefficients, inputs)[0, -1, 0], torch.tensor(1 / 0.99))
