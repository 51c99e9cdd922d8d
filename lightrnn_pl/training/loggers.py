"""Lightning's loggers, made to go on where a killed run stopped."""

from __future__ import annotations

import csv
import io
import secrets
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.csv_logs import _ExperimentWriter
from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightrnn_pl.files import atomic_write


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


class RunFolderWandbLogger(WandbLogger):
    """Logs every start in one folder to one W&B run, so that the curves of a resumed run go on.

    Args:
        save_dir: The run folder; its ``wandb_id.txt`` keeps the id.
        resume: False begins a W&B run of its own.
        options: As of Lightning's logger.
    """

    def __init__(self, save_dir: str, resume: bool = True, **options: Any) -> None:
        super().__init__(save_dir=save_dir, id=wandb_run_id(save_dir, resume), resume="allow", **options)


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
