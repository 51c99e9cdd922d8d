"""The figures of runs without the runs: what a report is made of, small enough to be committed.

Kept are ``metrics.json`` and ``config.yaml`` of every run and the JSON files of other commands, in folders that lie to
one another as they did.  Absolute paths lose their folders: they tell of a machine, not of a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightrnn_pl.files import atomic_write, write_json
from lightrnn_pl.reporting.anonymous_paths import text_without_folders, without_folders
from lightrnn_pl.reporting.measurements import Measurement
from lightrnn_pl.reporting.runs import Run, find_runs
from lightrnn_pl.run_folder import RunFolder


def places_of(runs: Sequence[Run], measurements: Sequence[Measurement] = ()) -> tuple[list[Path], list[Path]]:
    """Where runs and files are, seen from the deepest folder that holds them all."""
    folders, files = [run.path.resolve() for run in runs], [one.path.resolve() for one in measurements]
    parents = [path.parent for path in (*folders, *files)]
    common = next((folder for folder in _and_parents(parents[0]) if _holds(folder, parents)), None) if parents else None
    if common is None:
        return folders, files
    return [path.relative_to(common) for path in folders], [path.relative_to(common) for path in files]


def keep(folder: str | Path, runs: Sequence[Run], measurements: Sequence[Measurement]) -> None:
    """Write to ``folder`` what ``runs`` and ``measurements`` say.

    Raises:
        ValueError: If ``folder`` holds other runs, which a report on it would take for some of these, or is one
            of the runs or holds one.
    """
    folder = Path(folder)
    places, files = places_of(runs, measurements)
    if folder.is_dir():
        there = {run.path.resolve() for run in find_runs([folder])}
        if own := [run.path for run in runs if run.path.resolve() in there]:
            raise ValueError(f"keep={folder} is where {own[0]} is read from; give another folder")
        if others := sorted(there - {(folder / place).resolve() for place in places}):
            raise ValueError(f"keep={folder} holds other runs ({others[0]}); give another folder, or remove them first")
    for place, run in zip(places, runs, strict=True):
        if run.config:
            config = without_folders(run.config)
            if isinstance(config.get("data"), dict):
                config["data"].pop("root", None)  # a folder of the machine, whatever its last name is
            with atomic_write(RunFolder(folder / place).config, "w") as file:
                file.write(OmegaConf.to_yaml(OmegaConf.create(config)))
        # What a run did not get to write itself, a reader could not know without its folder.
        told: dict[str, Any] = {} if run.metrics else {"status": run.status, "error": run.error}
        if run.overrides:
            told["overrides"] = list(run.overrides)
        if run.choices:
            told["choices"] = run.choices
        RunFolder(folder / place).write_metrics(_of_no_machine({**run.metrics, **told}))
    for place, measurement in zip(files, measurements, strict=True):
        write_json(folder / place, _of_no_machine(measurement.content))


def _of_no_machine(content: Any) -> Any:
    """Without folders, also in the message of an error and in what was typed."""
    plain = without_folders(content)
    if isinstance(plain, dict):
        if isinstance(plain.get("error"), str):
            plain["error"] = text_without_folders(plain["error"])
        if isinstance(plain.get("overrides"), list):
            plain["overrides"] = [text_without_folders(override) for override in plain["overrides"]]
    return plain


def _and_parents(folder: Path) -> Iterable[Path]:
    return (folder, *folder.parents)


def _holds(folder: Path, others: Iterable[Path]) -> bool:
    return all(other.is_relative_to(folder) for other in others)
