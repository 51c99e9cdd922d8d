import pytest

from lightrnn_pl.training.plateau import Plateau
from lightrnn_pl.training.reallocation.convergence import Convergence


def after(*losses: float) -> Plateau:
    plateau = Plateau()
    for nll in losses:
        plateau.update(nll)
    return plateau


@pytest.mark.parametrize(
    ("options", "round", "epochs", "losses", "rate", "reason"),
    [
        ({}, 1, 9, (5, 4), 1.0, None),
        ({}, 1, 9, (5, 6), 1.0, None),
        ({}, 1, 9, (5, 6, 7), 1.0, "no improvement in 2 validations"),
        ({"min_learning_rate": 0.1}, 1, 9, (5, 4), 0.1, None),
        ({"min_learning_rate": 0.1}, 1, 9, (5, 4), 0.05, "learning rate 0.05 is below 0.1"),
        ({"epochs_per_round": 2}, 3, 1.5, (5, 4), 1.0, None),
        ({"epochs_per_round": 2}, 3, 2 - 1e-9, (5, 4), 1.0, "2 epochs"),
        ({"epochs_per_round": [1, 4]}, 1, 1, (5,), 1.0, "1 epochs"),
        ({"epochs_per_round": [1, 4]}, 7, 1, (5,), 1.0, None),
        ({"epochs_per_round": [1, 4]}, 7, 4, (5,), 1.0, "4 epochs"),
    ],
)
def test_the_reason_why_a_round_has_converged(options, round, epochs, losses, rate, reason):
    assert Convergence(**options).reason(round, epochs, after(*losses), rate) == reason


def test_may_end_after():
    assert not Convergence(patience=3).may_end_after(1, 5, stalls=1)
    assert Convergence(patience=3).may_end_after(1, 5, stalls=2)
    assert not Convergence(patience=3, epochs_per_round=4).may_end_after(1, 3, stalls=0)
    assert Convergence(patience=3, epochs_per_round=4).may_end_after(1, 4, stalls=0)
    assert Convergence(patience=3, min_learning_rate=0.1).may_end_after(1, 3, stalls=0)


def test_is_last():
    assert not Convergence().is_last(9.0, [5.0], seconds=1e9)
    assert Convergence(max_hours=1).is_last(4.0, [5.0], seconds=3601)
    assert not Convergence(max_hours=1).is_last(4.0, [5.0], seconds=3599)
    assert not Convergence(min_round_gain=0.1).is_last(9.0, [], seconds=0)
    assert not Convergence(min_round_gain=0.1).is_last(4.8, [5.0, 6.0], seconds=0)
    assert Convergence(min_round_gain=0.1).is_last(4.95, [5.0, 6.0], seconds=0)
