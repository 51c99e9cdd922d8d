"""A small part of the chaos suite; ``python tests/robustness/chaos.py --kills 200`` runs all of it."""

import os
import signal
import time

import pytest

from tests.robustness.chaos import SHARES, Chaos
from tests.robustness.forked_process import ForkedProcess, wait_for_all
from tests.robustness.stages import STAGES, preload


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    preload()
    return Chaos(tmp_path_factory.mktemp("chaos"), seed=0)


def passed(chaos):
    assert not chaos.failures, next(iter(chaos.failures.values()))[0]


@pytest.mark.parametrize(
    "stage",
    [
        "training",
        pytest.param("reallocation", marks=pytest.mark.exhaustive),
        pytest.param("checkpoint writing", marks=pytest.mark.exhaustive),
    ],
)
def test_runs_survive_kills_and_full_disks(stage, chaos):
    chaos.kills(stage, 1)
    chaos.full_disk(stage, 1)
    passed(chaos)


@pytest.mark.exhaustive  # tests/commands/test_sweep.py kills another one
def test_a_sweep_survives_a_kill(chaos):
    chaos.kills("sweep", 1)
    passed(chaos)


@pytest.mark.parametrize("stage", ["caching", "export", "report"])
def test_stages_survive_kills_and_full_disks(stage, chaos):
    chaos.kills(stage, 2)
    chaos.full_disk(stage, 1)
    passed(chaos)


@pytest.mark.parametrize("stage", ["training", "caching", "export", "report"])
def test_stages_survive_a_small_disk(stage, chaos):
    try:
        chaos.small_disk(stage, 1)
    except PermissionError as error:
        pytest.skip(str(error))  # only the superuser may mount a file system
    passed(chaos)


@pytest.mark.parametrize("stage", ["training", "caching"])
def test_two_processes_in_one_folder(stage, chaos):
    chaos.together(stage, 1)
    passed(chaos)


def test_every_stage_has_a_share_of_the_kills():
    assert SHARES.keys() == STAGES.keys() and sum(SHARES.values()) == pytest.approx(1)


def test_the_suite_detects_another_result(chaos, monkeypatch):
    """Otherwise, it could not fail."""
    chaos.kills("caching", 1)
    monkeypatch.setattr("tests.robustness.chaos.result_of", lambda folder: {"other": str(folder)})
    chaos.kills("caching", 1)
    assert "another result" in chaos.failures.pop("kill: caching")[0]


def test_a_process_that_hangs_is_a_failure_with_its_stack():
    def sleep_in_a_test():
        time.sleep(600)

    process = ForkedProcess(sleep_in_a_test)
    text = process.wait(1)
    assert process.is_hung and process.status == -signal.SIGABRT
    assert text.startswith("hung for 1 s") and "sleep_in_a_test" in text


def test_the_output_of_all_processes_is_read():
    """Otherwise, one that prints more than a pipe holds would wait forever, and so would one that waits for it."""
    reader, writer = os.pipe()

    def wait_for_the_other():
        os.read(reader, 1)

    def print_much():
        print("x" * 200_000)
        os.write(writer, b".")

    processes = [ForkedProcess(wait_for_the_other), ForkedProcess(print_much)]
    wait_for_all(processes, 20)
    assert [process.status for process in processes] == [0, 0]
    assert len(processes[1].wait()) > 200_000


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_right_after_the_fork_ends_the_process(kind):
    """It must neither get lost nor make the new process run the code of this one."""
    here = os.getpid()
    for _ in range(20):
        process = ForkedProcess(lambda: time.sleep(60))
        if os.getpid() != here:
            os._exit(77)
        assert process.kill_after(0, kind)
        process.wait(10)
        assert process.status == (1 if kind == signal.SIGINT else -kind)
