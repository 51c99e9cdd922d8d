"""Lightning's loggers, extended to resume interrupted runs and to show images and tables where supported."""

from __future__ import annotations

import csv
import io
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric.loggers.csv_logs import _ExperimentWriter
from lightning_fabric.loggers.logger import rank_zero_experiment
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightrnn_pl.files import atomic_write
from lightrnn_pl.training.tracking.run_names import group_name, hydra_choices, tags

Cell = str | int | float | None
"""What stands in a table."""


class PictureLogger(Logger, ABC):
    """A logger that shows pictures and tables beside the curves, and what a run came to."""

    @abstractmethod
    def show_picture(self, name: str, png: bytes, step: int) -> None:
        """Show the picture after ``step`` training steps."""

    @abstractmethod
    def show_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """Show the table after ``step`` training steps."""

    @abstractmethod
    def conclude(self, results: Mapping[str, Cell]) -> None:
        """Keep what the run came to: the numbers that runs are compared by, and how it ended."""


class AppendingCSVLogger(CSVLogger):
    """Keeps the rows of the run that it resumes, where Lightning's logger deletes them.

    Rows from the first step on that is logged anew are dropped: the killed run had gone on past its last checkpoint.

    Args:
        save_dir: The run folder.
        resume: False begins a file of its own.
        options: As of Lightning's logger.
    """

    def __init__(self, save_dir: str, resume: bool = True, **options: Any) -> None:
        super().__init__(save_dir, **options)
        self._resume = resume

    @property
    @rank_zero_experiment
    def experiment(self) -> _ExperimentWriter:
        """What writes the file."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(self.log_dir, self._resume)
        return self._experiment


class _AppendingWriter(ExperimentWriter):
    def __init__(self, log_dir: str, resume: bool) -> None:
        super().__init__(log_dir=log_dir)
        self._begun = False
        if not resume:
            Path(self.metrics_file_path).unlink(missing_ok=True)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        if not self._begun:
            self._begun = True
            self._keep_rows_before(step)
        super().log_metrics(metrics_dict, step)

    def _check_log_dir_exists(self) -> None:
        """Delete nothing, which is what Lightning's does here."""

    def _keep_rows_before(self, step: int | None) -> None:
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(encoding="utf-8", newline="") as file:
            # A line without an end was cut off when the run was killed.
            reader = csv.DictReader(line for line in file if line.endswith("\n"))
            rows = [row for row in reader if step is None or int(row["step"]) < step]
        if not rows:
            path.unlink()
            return
        self.metrics_keys = sorted(reader.fieldnames or ())  # the order in which rows are going to be added
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())


class RunFolderWandbLogger(WandbLogger, PictureLogger):
    """Logs every start in one folder to one W&B run, so that the curves of a resumed run go on.

    Args:
        save_dir: The run folder; its ``wandb_id.txt`` keeps the id.
        resume: False begins a W&B run of its own.
        group: Name of the runs that are averaged over; None: the configuration without its seed.
        tags: Beside those for model, corpus and table of a paper.
        upload_bundle: Whether the best bundle becomes an artifact of the run.
        options: As of Lightning's logger.
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
        run_id = wandb_run_id(save_dir, resume)
        super().__init__(save_dir=save_dir, id=run_id, resume="allow", group=group, tags=list(tags), **options)
        self.upload_bundle = upload_bundle

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the configuration, plain dictionaries; the run's group and tags follow from it."""
        begins = self._experiment is None
        if begins:
            self._wandb_init["group"] = self._wandb_init["group"] or group_name(params)
            found = tags(params, hydra_choices(self._wandb_init["dir"]))
            self._wandb_init["tags"] = list(dict.fromkeys([*self._wandb_init["tags"], *found]))
        super().log_hyperparams(params)
        if begins:
            # By round, what several runs have at one place is averaged; by step, their rounds end anywhere.
            for name in ("reallocation/*", "round/*"):
                self.experiment.define_metric(name, step_metric="round")

    @rank_zero_only
    def show_picture(self, name: str, png: bytes, step: int) -> None:
        """See :class:`PictureLogger`."""
        self.log_image(name, [Image.open(io.BytesIO(png))], step)

    @rank_zero_only
    def show_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """See :class:`PictureLogger`."""
        self.log_table(name, list(columns), [list(row) for row in rows], step=step)

    @rank_zero_only
    def conclude(self, results: Mapping[str, Cell]) -> None:
        """See :class:`PictureLogger`; they become the run's summary."""
        self.experiment.summary.update(dict(results))


class RunFolderTensorBoardLogger(TensorBoardLogger, PictureLogger):
    """Writes scalars, pictures, tables and, at the end, hyperparameters for TensorBoard into the run folder.

    What a killed run had written past its last checkpoint is not shown.

    Args:
        save_dir: The run folder.
        resume: False throws away what is there.
        options: As of Lightning's logger.
    """

    def __init__(self, save_dir: str, resume: bool = True, **options: Any) -> None:
        super().__init__(save_dir, default_hp_metric=False, **options)
        self._resume = resume
        self._step = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars."""
        self._writer_at(self._step if step is None else step)
        super().log_metrics(dict(metrics), step)

    @rank_zero_only
    def show_picture(self, name: str, png: bytes, step: int) -> None:
        """See :class:`PictureLogger`."""
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        self._writer_at(step).add_image(name, pixels, step, dataformats="HWC")

    @rank_zero_only
    def show_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """See :class:`PictureLogger`; TensorBoard shows Markdown."""
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join(map(_markdown, line))} |" for line in lines)
        self._writer_at(step).add_text(name, text, step)

    @rank_zero_only
    def conclude(self, results: Mapping[str, Cell]) -> None:
        """See :class:`PictureLogger`; they stand beside the configuration under HPARAMS."""
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
    """The id of the W&B run that belongs to ``folder``, drawn when it is first asked for or not to be resumed."""
    path = Path(folder) / "wandb_id.txt"
    if resume and path.is_file() and (known := path.read_text(encoding="utf-8").strip()):
        return known
    drawn = secrets.token_hex(4)
    with atomic_write(path, "w") as file:
        file.write(f"{drawn}\n")
    return drawn


def _markdown(cell: Cell) -> str:
    text = "" if cell is None else f"{cell:.6g}" if isinstance(cell, float) else str(cell)
    return text.replace("|", "\\|")
