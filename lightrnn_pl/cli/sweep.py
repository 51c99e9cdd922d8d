"""Sweeps (``-m``): each job records its status in a file, and the command prints a table of all jobs at the end.

By default, Hydra raises the error of the first failed job after a batch of jobs.  It then does not run the remaining
batches, and does not report the other jobs.  Here, a job therefore fails without raising.  It records its status in
``.jobs`` in the sweep folder, which all launchers share, and the command exits with status 1 if a job failed.  After an
interrupt, the command prints the number of jobs that were not started, and how to resume.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, flag_override
from typing_extensions import override

from lightrnn_pl.cli.errors import EXPECTED, one_line
from lightrnn_pl.files import write_json
from lightrnn_pl.number_text import perplexity_text
from lightrnn_pl.run_folder import SWEEP_RECORDS, RunFolder

log = logging.getLogger(__name__)

COMPLETED, KEPT, RESUMED = "completed", "kept", "resumed, completed"
FAILED, NOT_STARTED, INTERRUPTED, RUNNING = "failed", "not started", "interrupted", "running"
GOOD = (COMPLETED, KEPT, RESUMED)


@dataclass(frozen=True)
class _Sweep:
    """A sweep.

    Attributes:
        folder: The sweep folder.
        num_jobs: Number of jobs; None if the sweeper decides during the sweep.
    """

    folder: Path
    num_jobs: int | None

    @property
    def records(self) -> Path:
        return self.folder.resolve() / SWEEP_RECORDS


_current: _Sweep | None = None  # the sweep that this process started


class SweepStart(Callback):
    """Hydra callback (``hydra.callbacks``) that prepares the overrides and the folder of a sweep.

    It deletes the records of an earlier sweep in the same folder.  Of several overrides of a key, jobs get the last
    one only.  Hydra checks overrides such as ``data.root=...`` against the configuration without the swept ones, so
    ``experiment=a experiment=a,b`` sweeps over two experiments that have the key, although the default corpus does not.
    """

    @override
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        global _current
        with flag_override(config.hydra, "readonly", False):
            config.hydra.overrides.task = _last_of_each_key(config.hydra.overrides.task)
        if is_first_process():  # other ranks of a distributed job do not start a sweep
            _current = _Sweep(Path(config.hydra.sweep.dir), _num_jobs(config))
            shutil.rmtree(_current.records, ignore_errors=True)


def is_first_process() -> bool:
    """Whether this is the first process of a distributed job, started by torchrun, Lightning or SLURM."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return int(next(filter(None, ranks), 0)) == 0


def _num_jobs(config: DictConfig) -> int | None:
    """The number of combinations of the values that Hydra's own sweeper tries; None for other sweepers."""
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return None
    parameters = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*parameters, *config.hydra.overrides.task])
    values = {
        override.get_key_element(): len(list(override.sweep_string_iterator()))
        for override in overrides
        if override.is_discrete_sweep()
    }
    return math.prod(values.values())


def _last_of_each_key(overrides: Sequence[str]) -> list[str]:
    """The overrides without those that a later override of the same key replaces."""
    last: dict[str, str] = {}
    for assignment in overrides:
        key = assignment.partition("=")[0]
        last.pop(key, None)
        last[key] = assignment
    return list(last.values())


def as_sweep_job(command: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Wrap a command so that, as a job of a sweep, it records its status and fails without stopping other jobs.

    With ``sweep.fail_fast``, no further job starts once one has failed.  A failed job returns None, which Optuna's
    sweeper counts as a failed trial.
    """

    @functools.wraps(command)
    def run(config: DictConfig) -> Any:
        if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
            return command(config)
        job = _Job(HydraConfig.get())
        if config.sweep.fail_fast and (failed := job.failed_jobs()):
            job.record(NOT_STARTED, f"job {failed[0]} failed (sweep.fail_fast=true)")
            return None
        was_complete, is_resumed = config.resume and job.is_complete(), config.resume and job.has_checkpoint()
        job.record(RUNNING)
        try:
            result = command(config)
        except Exception as error:
            job.record_failure(one_line(error))
            # Expected errors are the user's to fix, so they do not need a traceback.
            with_traceback = not isinstance(error, EXPECTED) or os.environ.get("HYDRA_FULL_ERROR") == "1"
            log.error("job %s failed: %s", job.number, one_line(error), exc_info=with_traceback)
            return None
        except BaseException:
            job.record(INTERRUPTED)
            raise
        job.record(KEPT if was_complete else RESUMED if is_resumed else COMPLETED)
        return result

    return run


def sweep_report(command: Callable[[], Any]) -> Callable[[], None]:
    """Wrap an entry point so that a sweep prints a table of its jobs, and exits with 1 if one did not complete."""

    @functools.wraps(command)
    def run() -> None:
        global _current
        _current = None
        jobs: list[dict[str, Any]] = []
        try:
            command()
        finally:
            jobs = _read_records(_current.records) if _current else []
            if _current and jobs:
                _print_jobs(jobs)
                _print_remaining(_current, jobs)
        if any(job["status"] not in GOOD for job in jobs):
            sys.exit(1)

    return run


class _Job:
    """The current job of this process, as Hydra describes it."""

    def __init__(self, hydra: Any) -> None:
        self.number = int(hydra.job.num)
        self.folder = Path(hydra.runtime.output_dir)
        self.overrides = [str(override) for override in hydra.overrides.task]
        self.records = Path(hydra.sweep.dir).resolve() / SWEEP_RECORDS

    def record(self, status: str, error: str | None = None) -> None:
        if not is_first_process():
            return
        content = {"job": self.number, "status": status, "error": error}
        write_json(
            self.records / f"{self.number}.json",
            {**content, "folder": str(self.folder), "overrides": self.overrides},
        )

    def record_failure(self, error: str) -> None:
        """Record the failure in the run folder too, if the command failed before it wrote there.

        The records of the jobs last until the next sweep in the same folder.
        """
        self.record(FAILED, error)
        run = RunFolder(self.folder)
        if is_first_process() and not run.metrics.exists():
            run.write_metrics({"status": FAILED, "error": error})

    def failed_jobs(self) -> list[int]:
        return [job["job"] for job in _read_records(self.records) if job["status"] == FAILED]

    def is_complete(self) -> bool:
        return _json(RunFolder(self.folder).metrics).get("status") == "completed"

    def has_checkpoint(self) -> bool:
        return RunFolder(self.folder).last.is_file()


def _read_records(folder: Path) -> list[dict[str, Any]]:
    return sorted(filter(None, map(_json, folder.glob("*.json"))), key=lambda job: job["job"])


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing, or being replaced by another process
        return {}


def _print_jobs(jobs: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="sweep", title_justify="left")
    table.add_column("job", justify="right")
    table.add_column("overrides", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("valid,\ntest\nperplexity", justify="right", no_wrap=True)
    if has_errors := any(job["error"] for job in jobs):
        table.add_column("error", overflow="fold")
    common = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:
        # A job that is still recorded as running after the sweep was killed.
        status = "killed" if job["status"] == RUNNING else job["status"]
        metrics = _json(RunFolder(job["folder"]).metrics) if status in GOOD else {}
        table.add_row(
            str(job["job"]),
            Text("\n".join(override for override in job["overrides"] if override not in common)),
            Text(status, style="" if status in GOOD else "red"),
            "\n".join(
                perplexity_text(metrics[split]["perplexity"]) for split in ("validation", "test") if metrics.get(split)
            ),
            *([Text(job["error"] or "")] if has_errors else []),
        )
    Console().print(table)


def _print_remaining(sweep: _Sweep, jobs: list[dict[str, Any]]) -> None:
    """If a sweep was interrupted, print the number of jobs that were not started, and how to resume."""
    remaining = 0 if sweep.num_jobs is None else sweep.num_jobs - len(jobs)
    if remaining:
        print(f"{remaining} more job{' was' if remaining == 1 else 's were'} not started")
    if remaining or any(job["status"] == INTERRUPTED for job in jobs):
        # A sweep in the default folder would get a new one, named by the time.
        is_named = any(argument.startswith("hydra.sweep.dir=") for argument in sys.argv)
        folder = "" if is_named else f" with hydra.sweep.dir={sweep.folder}"
        print(f"interrupted; to resume, run the same command{folder} again; completed jobs are kept")
