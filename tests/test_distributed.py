"""Communication between two processes, which are forked so that they need not import anything."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from lightrnn_pl.commands.train import check_common_run_folder
from lightrnn_pl.distributed import from_first_rank
from lightrnn_pl.training.ranks import check_equal_on_ranks


def on_two_ranks(function: Callable[[int], object], folder: Path, survivors: int = 2) -> list[object]:
    """The results of ``function``, called with each rank in a process of a group; the error if it raises one.

    Args:
        function: What each process does.
        folder: Folder for the file by which the processes find each other.
        survivors: Number of processes that live until they have a result.
    """
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def run(rank: int) -> None:
        torch.distributed.init_process_group("gloo", f"file://{folder / 'group'}", rank=rank, world_size=2)
        try:
            results.put((rank, function(rank)))
        except Exception as error:
            results.put((rank, f"{type(error).__name__}: {error}"))

    processes = [context.Process(target=run, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    gathered = [results.get(timeout=60) for _ in range(survivors)]
    for process in processes:
        process.join(60)
    return [result for _, result in sorted(gathered)]


def test_a_single_process_computes_itself():
    assert from_first_rank(lambda: 3) == 3


def test_the_first_process_computes_for_all(tmp_path):
    def compute(rank: int) -> list[int]:
        return [from_first_rank(lambda: rank + 10), from_first_rank(lambda: rank + 20)]

    assert on_two_ranks(compute, tmp_path) == [[10, 20], [10, 20]]


def test_processes_with_different_models_stop(tmp_path):
    def compare(rank: int) -> str:
        check_equal_on_ranks("equal")
        with pytest.raises(ValueError, match=r"of the processes \[1\] differ from those of process 0; all machines"):
            check_equal_on_ranks(f"model {rank}")
        return "compared"

    assert on_two_ranks(compare, tmp_path) == ["compared", "compared"]


def test_the_death_of_the_first_process_ends_the_wait(tmp_path):
    (error,) = on_two_ranks(lambda rank: from_first_rank(lambda: os._exit(1)), tmp_path, survivors=1)
    assert "RuntimeError" in error and "Connection" in error


@pytest.fixture
def hydra_folder(monkeypatch):
    """Replaces the folder of runs in the configuration of Hydra."""

    def replace(folder: str) -> None:
        hydra = OmegaConf.create({"run": {"dir": folder}, "mode": RunMode.RUN})
        monkeypatch.setattr(HydraConfig, "get", lambda: hydra)

    return replace


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_several_processes_need_a_common_run_folder(variable, hydra_folder, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    hydra_folder("outputs/${name}/${now:%Y-%m-%d}")
    check_common_run_folder()
    monkeypatch.setenv(variable, "1")
    check_common_run_folder()
    monkeypatch.setenv(variable, "2")
    with pytest.raises(ValueError, match=r"2 processes have been started, each .* set hydra.run.dir"):
        check_common_run_folder()
    hydra_folder("outputs/my_run")
    check_common_run_folder()
