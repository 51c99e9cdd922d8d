"""Helpers for tests that run experiments: composed by Hydra, trained on tiny texts, and optionally killed."""

import os
import signal
from pathlib import Path

from omegaconf import DictConfig

from tests.composition import composed
from tests.robustness.forked_process import ForkedProcess

SMALL = (
    *("name=test", "callbacks=quiet", "logger=none", "trainer=cpu", "seed=0", "allocation=random"),
    *("model.hidden_dim=8", "model.num_layers=2", "model.dropout=0.3"),
    *("data.batch_size=4", "data.sequence_length=7", "data.eval_batch_size=3"),
)
"""Overrides for a very small model."""


def compose_run(run_dir: Path, files: dict[str, Path], *overrides: str) -> DictConfig:
    """The configuration of a small run on ``files``."""
    return compose_overrides(*_paths(run_dir, files), *overrides)


def folders_of(run_dir: Path) -> list[str]:
    """Overrides for the run folder and for a cache next to it."""
    return [f"paths.run_dir={run_dir}", f"paths.cache_dir={run_dir.parent / 'cache'}"]


def _paths(run_dir: Path, files: dict[str, Path]) -> list[str]:
    return [*folders_of(run_dir), "data=text", *(f"data.{split}={path}" for split, path in files.items())]


def kill_run(moment: str, run_dir: Path, files: dict[str, Path], *overrides: str) -> None:
    """Train in a separate process that kills itself with SIGKILL at ``moment``."""
    process = ForkedProcess(lambda: _train_until(moment, [*_paths(run_dir, files), *overrides]))
    output = process.wait()
    assert process.status == -signal.SIGKILL, output
    assert (run_dir / "last.ckpt").is_file()


def compose_overrides(*overrides: str) -> DictConfig:
    """The configuration of ``lightrnn-train`` with ``SMALL`` and ``overrides``."""
    return composed("train", *SMALL, *overrides)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _train_until(moment: str, overrides: list[str]) -> None:
    from lightrnn_pl import files
    from lightrnn_pl.allocation.solvers import Solver
    from lightrnn_pl.training import experiment
    from lightrnn_pl.training.callbacks.resume_point import ResumePoint

    if moment.startswith("step="):
        original = ResumePoint.on_train_batch_end

        def on_train_batch_end(self, trainer, pl_module, *args):
            original(self, trainer, pl_module, *args)
            if trainer.global_step == int(moment.removeprefix("step=")):
                _kill()

        ResumePoint.on_train_batch_end = on_train_batch_end
    elif moment == "reallocation":
        Solver.solve = lambda self, problem: _kill()
    elif moment.startswith("write="):
        # After the last byte of the n-th last.ckpt was written, but before the file is renamed.
        remaining = [int(moment.removeprefix("write="))]
        replace = files.Path.replace

        def replace_or_die(self, target):
            if Path(target).name == "last.ckpt":
                remaining[0] -= 1
                if not remaining[0]:
                    _kill()
            return replace(self, target)

        files.Path.replace = replace_or_die
    else:
        raise SystemExit(f"unknown moment {moment}")
    experiment.train(compose_overrides(*overrides))
