"""The inputs of a report without the models, small enough to be committed.

A results folder contains ``metrics.json`` and ``config.yaml`` of each run and the JSON files of other commands, with
the original relative paths.  The folders of absolute paths are removed, because they describe the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightrnn_pl.files import atomic_write, write_json
from lightrnn_pl.reporting.anonymous_paths import text_without_folders, without_folders
from lightrnn_pl.reporting.measurements import Measurement
from lightrnn_pl.reporting.runs import Run, find_runs
from lightrnn_pl.run_folder import RunFolder


def relative_paths(runs: Sequence[Run], measurements: Sequence[Measurement] = ()) -> tuple[list[Path], list[Path]]:
    """The paths of runs and files, relative to the deepest folder that contains all of them."""
    folders, files = [run.path.resolve() for run in runs], [measured.path.resolve() for measured in measurements]
    parents = [path.parent for path in (*folders, *files)]
    common = _common_parent(parents) if parents else None
    if common is None:
        return folders, files
    return [path.relative_to(common) for path in folders], [path.relative_to(common) for path in files]


def save_results(folder: str | Path, runs: Sequence[Run], measurements: Sequence[Measurement]) -> None:
    """Write the metrics and configurations of ``runs`` and the content of ``measurements`` to ``folder``.

    Raises:
        ValueError: If ``folder`` contains other runs, which would appear in reports on it, or one of ``runs``.
    """
    folder = Path(folder)
    run_paths, file_paths = relative_paths(runs, measurements)
    if folder.is_dir():
        existing = {run.path.resolve() for run in find_runs([folder])}
        if sources := [run.path for run in runs if run.path.resolve() in existing]:
            raise ValueError(
                f"keep={folder} contains {sources[0]}, which is an input of this report; pass another folder"
            )
        if others := sorted(existing - {(folder / path).resolve() for path in run_paths}):
            raise ValueError(
                f"keep={folder} contains other runs ({others[0]}); pass another folder, or remove them first"
            )
    for path, run in zip(run_paths, runs, strict=True):
        if run.config:
            config = without_folders(run.config)
            if isinstance(config.get("data"), dict):
                config["data"].pop("root", None)  # a folder of the machine, including its last component
            with atomic_write(RunFolder(folder / path).config, "w") as file:
                file.write(OmegaConf.to_yaml(OmegaConf.create(config)))
        # Store what was read from other files of the run folder.
        additions: dict[str, Any] = {} if run.metrics else {"status": run.status, "error": run.error}
        if run.overrides:
            additions["overrides"] = list(run.overrides)
        if run.choices:
            additions["choices"] = run.choices
        RunFolder(folder / path).write_metrics(_anonymous({**run.metrics, **additions}))
    for path, measurement in zip(file_paths, measurements, strict=True):
        write_json(folder / path, _anonymous(measurement.content))


def _anonymous(content: Any) -> Any:
    """The same content without folders, also in error messages and overrides."""
    plain = without_folders(content)
    if isinstance(plain, dict):
        if isinstance(plain.get("error"), str):
            plain["error"] = text_without_folders(plain["error"])
        if isinstance(plain.get("overrides"), list):
            plain["overrides"] = [text_without_folders(override) for override in plain["overrides"]]
    return plain


def _common_parent(folders: Sequence[Path]) -> Path | None:
    """The deepest folder that contains or equals all ``folders``."""
    candidates = (folders[0], *folders[0].parents)
    return next((parent for parent in candidates if all(path.is_relative_to(parent) for path in folders)), None)
