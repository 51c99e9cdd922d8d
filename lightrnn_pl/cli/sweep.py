"""The jobs of a sweep (``-m``): what became of each stands in a file, and all of it in one table at the end.

Left to itself, Hydra raises the error of the first failed job when a batch of jobs is over: the batches after it are
not run, and of the other jobs nothing is said.  So a job here fails without an exception, notes it in ``.jobs`` in the
sweep's folder, which processes and machines share whatever launched them, and the command ends with a status of 1.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import EXPECTED, one_line
from lightrnn_pl.files import write_json
from lightrnn_pl.run_folder import RunFolder

log = logging.getLogger(__name__)

COMPLETED, COMPLETE_BEFORE, RESUMED = "completed", "complete before", "resumed, completed"
FAILED, NOT_STARTED, INTERRUPTED, RUNNING = "failed", "not started", "interrupted", "running"
GOOD = (COMPLETED, COMPLETE_BEFORE, RESUMED)

_NOTES = ".jobs"
_notes_of_this_call: Path | None = None


class SweepStart(Callback):
    """Hydra's callback (``hydra.callbacks``): forgets what an earlier call in the same folder noted of its jobs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See Hydra's ``Callback``."""
        global _notes_of_this_call
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:  # a further process of a job is no sweep of its own
            _notes_of_this_call = Path(config.hydra.sweep.dir).resolve() / _NOTES
            shutil.rmtree(_notes_of_this_call, ignore_errors=True)


def as_sweep_job(command: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Wrap a command so that, as a job of a sweep, it notes how it ended and fails without stopping the others.

    With ``sweep.fail_fast`` no job is started any more once one has failed.  A failed job returns None, which Optuna's
    sweeper counts as a failed trial.
    """

    @functools.wraps(command)
    def run(config: DictConfig) -> Any:
        if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
            return command(config)
        job = _Job(HydraConfig.get())
        if config.sweep.fail_fast and (failed := job.failed_others()):
            job.note(NOT_STARTED, f"job {failed[0]} had failed (sweep.fail_fast=true)")
            return None
        done_before, goes_on = config.resume and job.is_complete(), config.resume and job.can_go_on()
        job.note(RUNNING)
        try:
            result = command(config)
        except Exception as error:
            job.note(FAILED, one_line(error))
            # The place in the code is of use only where the user could not have known.
            unexpected = not isinstance(error, EXPECTED) or os.environ.get("HYDRA_FULL_ERROR") == "1"
            log.error("job %s failed: %s", job.number, one_line(error), exc_info=unexpected)
            return None
        except BaseException:
            job.note(INTERRUPTED)
            raise
        job.note(COMPLETE_BEFORE if done_before else RESUMED if goes_on else COMPLETED)
        return result

    return run


def sweep_report(command: Callable[[], Any]) -> Callable[[], None]:
    """Wrap an entry point so that a sweep ends with a table of its jobs, and exits with 1 if one did not complete."""

    @functools.wraps(command)
    def run() -> None:
        global _notes_of_this_call
        _notes_of_this_call = None
        jobs: list[dict[str, Any]] = []
        try:
            command()
        finally:
            jobs = _noted(_notes_of_this_call) if _notes_of_this_call else []
            if jobs:
                _show(jobs)
        if any(job["status"] not in GOOD for job in jobs):
            sys.exit(1)

    return run


class _Job:
    """What Hydra knows of the job that this process is at."""

    def __init__(self, hydra: Any) -> None:
        self.number = int(hydra.job.num)
        self.folder = Path(hydra.runtime.output_dir)
        self.overrides = [str(override) for override in hydra.overrides.task]
        self.notes = Path(hydra.sweep.dir).resolve() / _NOTES

    def note(self, status: str, error: str | None = None) -> None:
        content = {"job": self.number, "status": status, "error": error}
        write_json(
            self.notes / f"{self.number}.json",
            {**content, "folder": str(self.folder), "overrides": self.overrides},
        )

    def failed_others(self) -> list[int]:
        return [job["job"] for job in _noted(self.notes) if job["status"] == FAILED]

    def is_complete(self) -> bool:
        return _json(RunFolder(self.folder).metrics).get("status") == "completed"

    def can_go_on(self) -> bool:
        return RunFolder(self.folder).last.is_file()


def _noted(notes: Path) -> list[dict[str, Any]]:
    return sorted(filter(None, map(_json, notes.glob("*.json"))), key=lambda job: job["job"])


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or one that another process is replacing
        return {}


def _show(jobs: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="sweep", title_justify="left")
    table.add_column("job", justify="right")
    table.add_column("overrides", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("valid,\ntest\nperplexity", justify="right", no_wrap=True)
    table.add_column("error", overflow="fold")
    common = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:
        # Whoever was still running when the sweep was over was killed.
        status = "cut off" if job["status"] == RUNNING else job["status"]
        metrics = _json(RunFolder(job["folder"]).metrics) if status in GOOD else {}
        table.add_row(
            str(job["job"]),
            Text("\n".join(override for override in job["overrides"] if override not in common)),
            Text(status, style="" if status in GOOD else "red"),
            "\n".join(_perplexity(metrics[split]) for split in ("validation", "test") if metrics.get(split)),
            Text(job["error"] or ""),
        )
    Console().print(table)


def _perplexity(split: dict[str, Any]) -> str:
    found = split["perplexity"]
    if found is None:  # infinite, which JSON does not have
        return "inf"
    return f"{found:.2f}" if found < 1e6 else f"{found:.3g}"
