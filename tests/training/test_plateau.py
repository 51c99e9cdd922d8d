import math

import pytest

from lightrnn_pl.training.plateau import Plateau


def test_counts_validations_since_the_last_improvement():
    plateau = Plateau()
    assert (plateau.best, plateau.stalls) == (math.inf, 0)
    states = [(plateau.update(nll), plateau.best, plateau.stalls) for nll in (5, 4, 4, 4.5, 3, 6)]
    assert states == [(True, 5, 0), (True, 4, 0), (False, 4, 1), (False, 4, 2), (True, 3, 0), (False, 3, 1)]


def test_small_improvements_count_once_their_sum_exceeds_min_gain():
    plateau = Plateau(min_gain=0.5)
    states = [(plateau.update(nll), plateau.stalls) for nll in (5, 4.8, 4.6, 4.4)]
    assert states == [(True, 0), (True, 1), (True, 2), (True, 0)]
    assert plateau.best == 4.4


def test_a_restored_plateau_continues():
    one, other = Plateau(0.5), Plateau(0.5)
    for nll in (5, 4.8):
        one.update(nll)
    other.load_state_dict(one.state_dict())
    assert other.update(4.6) == one.update(4.6)
    assert other.state_dict() == one.state_dict() == {"best": 4.6, "stalls": 2, "last_gain": pytest.approx(5)}
    one.reset()
    assert one.state_dict() == Plateau().state_dict()
