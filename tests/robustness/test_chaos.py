"""A small part of the chaos suite; ``python tests/robustness/chaos.py --kills 200`` runs all of it."""

import pytest

from tests.robustness.chaos import Chaos, preload


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    preload()
    return Chaos(tmp_path_factory.mktemp("chaos"), seed=0)


def passed(chaos):
    assert not chaos.failures, next(iter(chaos.failures.values()))[0]


@pytest.mark.slow
def test_training_survives_kills_and_full_disks(chaos):
    chaos.kills("train", 3)
    chaos.full_disk("train", 1)
    passed(chaos)


@pytest.mark.parametrize("stage", ["cache", "export"])
def test_stages_survive_kills_and_full_disks(stage, chaos):
    chaos.kills(stage, 3)
    chaos.full_disk(stage, 2)
    passed(chaos)


def test_two_processes_build_one_cache(chaos):
    chaos.together("cache", 2)
    passed(chaos)


def test_the_suite_detects_another_result(chaos, monkeypatch):
    """Otherwise, it could not fail."""
    chaos.kills("cache", 1)
    monkeypatch.setattr("tests.robustness.chaos.result_of", lambda folder: {"other": str(folder)})
    chaos.kills("cache", 1)
    assert "another result" in chaos.failures.pop("kill: cache")[0]
