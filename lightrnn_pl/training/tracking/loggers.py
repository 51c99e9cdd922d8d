"""Lightning's loggers, extended to resume interrupted runs and, if supported, to log figures and tables."""

from __future__ import annotations

import csv
import io
import os
import secrets
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from lightning_fabric.loggers.csv_logs import _ExperimentWriter
from lightning_fabric.loggers.logger import rank_zero_experiment
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from typing_extensions import override

from lightrnn_pl.checks import check_count
from lightrnn_pl.files import atomic_write, explain_unwritable
from lightrnn_pl.training.tracking.run_names import group_name, hydra_choices, tags

_WANDB_ID = "wandb_id.txt"
_WANDB_TEMPORARY_BYTES = 4096

Cell = str | int | float | None
"""The value of a table cell."""


class FigureLogger(Logger, ABC):
    """A logger that also accepts figures, tables, and the final results of a run."""

    @abstractmethod
    def log_figure(self, name: str, png: bytes, step: int) -> None:
        """Log a figure after ``step`` training steps."""

    @abstractmethod
    def log_rows(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """Log a table after ``step`` training steps."""

    @abstractmethod
    def log_results(self, results: Mapping[str, Cell]) -> None:
        """Log the final status of the run, and the metrics by which runs are compared."""


class AppendingCSVLogger(CSVLogger):
    """A CSV logger that keeps the rows of the run it resumes; Lightning's logger deletes them.

    Rows that the killed run wrote after its last checkpoint are replaced, because the resumed run repeats those steps.

    Args:
        save_dir: The run folder.
        resume: False to start a new file.
        options: Options of Lightning's logger.
    """

    def __init__(self, save_dir: str, resume: bool = True, **options: Any) -> None:
        super().__init__(save_dir, **options)
        check_count("logger.csv.flush_logs_every_n_steps", self._flush_logs_every_n_steps)
        self._resume = resume

    @property
    @rank_zero_experiment
    def experiment(self) -> _ExperimentWriter:
        """The writer of the file."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(self.log_dir, self._resume)
        return self._experiment


class _AppendingWriter(ExperimentWriter):
    def __init__(self, log_dir: str, resume: bool) -> None:
        super().__init__(log_dir=log_dir)
        self._started = False
        if not resume:
            Path(self.metrics_file_path).unlink(missing_ok=True)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        if not self._started:
            self._started = True
            self._keep_rows_before(step)
        super().log_metrics(metrics_dict, step)

    def _check_log_dir_exists(self) -> None:
        """Keep the existing file, which Lightning's writer deletes here."""

    def _keep_rows_before(self, step: int | None) -> None:
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(encoding="utf-8", newline="") as file:
            # A line without a line break is incomplete: the run was killed while it was written.
            reader = csv.DictReader(line for line in file if line.endswith("\n"))
            rows = [row for row in reader if step is None or int(row["step"]) < step]
        if not rows:
            path.unlink()
            return
        self.metrics_keys = sorted(reader.fieldnames or ())  # the column order of new rows
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())


class RunFolderWandbLogger(WandbLogger, FigureLogger):
    """A W&B logger with one W&B run per run folder, so that a resumed run continues its curves.

    The agent of a W&B sweep determines the id of the run, which is stored, so that the run can be resumed without it.

    Args:
        save_dir: The run folder; the id of the W&B run is stored in its ``wandb_id.txt``.
        resume: False to start a new W&B run.
        group: The group of runs to average over; None for one that is derived from the configuration without its seed.
        tags: Tags in addition to those for the model, the corpus and the table of a paper.
        upload_bundle: Whether to upload the best bundle as an artifact.
        options: Options of Lightning's logger.
    """

    def __init__(
        self,
        save_dir: str,
        resume: bool = True,
        group: str | None = None,
        tags: Sequence[str] = (),
        upload_bundle: bool = True,
        **options: Any,
    ) -> None:
        _start_wandb()
        run_id = wandb_run_id(save_dir, resume)
        super().__init__(save_dir=save_dir, id=run_id, resume="allow", group=group, tags=list(tags), **options)
        self.upload_bundle = upload_bundle

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run."""
        is_new = self._experiment is None
        run = super().experiment
        if is_new and "WANDB_SWEEP_ID" in os.environ:
            # In a sweep, W&B ignores the requested id and uses that of the agent.
            _store_wandb_run_id(self._wandb_init["dir"], run.id)
        return run

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log the configuration (plain dictionaries), and derive the run's group and tags from it."""
        is_first_call = self._experiment is None
        if is_first_call:
            self._wandb_init["group"] = self._wandb_init["group"] or group_name(params)
            derived_tags = tags(params, hydra_choices(self._wandb_init["dir"]))
            self._wandb_init["tags"] = list(dict.fromkeys([*self._wandb_init["tags"], *derived_tags]))
        super().log_hyperparams(params)
        if is_first_call:
            # W&B can average runs by round, but not by step, because their rounds end at different steps.
            for name in ("reallocation/*", "round/*"):
                self.experiment.define_metric(name, step_metric="round")

    @override
    @rank_zero_only
    def log_figure(self, name: str, png: bytes, step: int) -> None:
        self.log_image(name, [Image.open(io.BytesIO(png))], step)

    @override
    @rank_zero_only
    def log_rows(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        self.log_table(name, list(columns), [list(row) for row in rows], step=step)

    @override
    @rank_zero_only
    def log_results(self, results: Mapping[str, Cell]) -> None:
        """Store the results in the run's summary."""
        self.experiment.summary.update(dict(results))


@rank_zero_only
def _start_wandb() -> None:
    """Start W&B's background process before Lightning's logger makes W&B print anything.

    It needs a small temporary file.  If that cannot be written, wandb 0.31 waits forever.

    Raises:
        OSError: If there is no space for temporary files; the message names the folder.
    """
    folder = tempfile.gettempdir()
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(_WANDB_TEMPORARY_BYTES))
            file.flush()
    except OSError as error:
        raise explain_unwritable(error, folder) from error
    wandb.setup()


class RunFolderTensorBoardLogger(TensorBoardLogger, FigureLogger):
    """A TensorBoard logger that writes scalars, figures, tables and, at the end, hyperparameters into the run folder.

    Events that a killed run wrote after its last checkpoint are hidden.

    Args:
        save_dir: The run folder.
        resume: False to delete existing events.
        options: Options of Lightning's logger.
    """

    def __init__(self, save_dir: str, resume: bool = True, **options: Any) -> None:
        super().__init__(save_dir, default_hp_metric=False, **options)
        self._resume = resume
        self._step = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars."""
        self._writer_at(self._step if step is None else step)
        super().log_metrics(dict(metrics), step)

    @override
    @rank_zero_only
    def log_figure(self, name: str, png: bytes, step: int) -> None:
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        self._writer_at(step).add_image(name, pixels, step, dataformats="HWC")

    @override
    @rank_zero_only
    def log_rows(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """Log a table as Markdown."""
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join(map(_markdown, line))} |" for line in lines)
        self._writer_at(step).add_text(name, text, step)

    @override
    @rank_zero_only
    def log_results(self, results: Mapping[str, Cell]) -> None:
        """Log the results next to the configuration in the HPARAMS tab."""
        numbers = {name: value for name, value in results.items() if isinstance(value, int | float)}
        if numbers:
            self.log_hyperparams(self.hparams, numbers, self._step)
        self.finalize("success")

    def _writer_at(self, step: int) -> Any:
        if self._experiment is None:
            if not self._resume:
                for events in Path(self.log_dir).glob("events.out.tfevents.*"):
                    events.unlink()
            self._kwargs["purge_step"] = step
        self._step = step
        return self.experiment


@rank_zero_only
def wandb_run_id(folder: str | Path, resume: bool = True) -> str:
    """The id of the W&B run of ``folder``; a new one is stored there if there is none or ``resume`` is false."""
    path = Path(folder) / _WANDB_ID
    if resume and path.is_file() and (stored := path.read_text(encoding="utf-8").strip()):
        return stored
    run_id = secrets.token_hex(4)
    _store_wandb_run_id(folder, run_id)
    return run_id


def _store_wandb_run_id(folder: str | Path, run_id: str) -> None:
    with atomic_write(Path(folder) / _WANDB_ID, "w") as file:
        file.write(f"{run_id}\n")


def _markdown(cell: Cell) -> str:
    text = "" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|")
