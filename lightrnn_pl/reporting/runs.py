"""Finds and reads run folders, sweep folders, and results folders.

A run folder contains ``config.yaml`` and ``metrics.json``; either may be missing if the run was killed early.  A job
that failed even earlier left only Hydra's files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue

from lightrnn_pl.run_folder import SWEEP_RECORDS, RunFolder, read_yaml

_SKIPPED_FOLDERS = ("wandb",)
"""Folders that are not searched, because W&B writes files called config.yaml too."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder.
        name: The name of the run; the name of the folder if none was written.
        seed: The seed of the run.
        config: The resolved configuration as plain containers; empty if none was written.
        metrics: The content of ``metrics.json``; empty if none was written.
        overrides: The command-line overrides with which the run was started or last resumed; empty if unknown.
        choices: The option of each config group; empty if unknown.
        status: ``completed``, ``running`` (also if the process was killed), ``interrupted``, ``failed``, ``started``
            (no metrics yet) or ``unreadable``.
        error: The error message, if any.
    """

    path: Path
    name: str
    seed: int | None
    config: dict[str, Any]
    metrics: dict[str, Any]
    overrides: tuple[str, ...]
    choices: dict[str, str]
    status: str
    error: str | None

    @property
    def corpus(self) -> str | None:
        """The name of the training corpus."""
        return (self.metrics.get("protocol") or {}).get("corpus")

    @property
    def training_tokens(self) -> int | None:
        """The size of the training text; None if unknown."""
        return (self.metrics.get("tokens") or {}).get("train")


def find_runs(folders: Iterable[str | Path]) -> list[Run]:
    """The runs in and below ``folders``, each once, in natural order of their names (2 before 10).

    Raises:
        FileNotFoundError: If one of ``folders`` is not a folder.
    """
    runs: dict[Path, Run] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"folder {folder} does not exist; pass run folders, or folders that contain them")
        for path, _, is_run in walk(folder):
            if is_run:
                runs.setdefault(path.resolve(), read_run(path))
    return list(runs.values())


def read_run(path: str | Path) -> Run:
    """Read the run in ``path``; if a file is invalid, its status is ``unreadable``."""
    path, folder = Path(path), RunFolder(path)
    config: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    overrides: tuple[str, ...] = ()
    choices: dict[str, str] = {}
    unreadable = None
    try:
        config = _checked(_Config, _yaml(folder.config) or _yaml(folder.hydra / folder.config.name))
        metrics = _checked(_Metrics, folder.read_metrics())
        # A command that was refused in the folder has replaced Hydra's record, but not that of the run.
        command = folder.command() | {key: metrics[key] for key in ("overrides", "choices") if key in metrics}
        overrides = tuple(map(str, command.get("overrides") or ()))
        choices = _mapping(command.get("choices"))
    except Exception as error:  # a broken file can cause any kind of exception
        unreadable = f"{type(error).__name__}: {error}"
    outcome = metrics or _sweep_record(path)
    seed = metrics.get("seed", config.get("seed"))
    name = metrics.get("name", config.get("name"))
    return Run(
        path,
        # In Hydra's unresolved configuration, the name may contain interpolations that only Hydra can resolve.
        path.resolve().name if name is None or "${" in str(name) else str(name),
        seed if isinstance(seed, int) else None,
        config,
        metrics,
        overrides,
        choices,
        "unreadable" if unreadable else outcome.get("status", "started"),
        unreadable or outcome.get("error"),
    )


def natural_order(text: object) -> list[Any]:
    """A sort key for names that compares the numbers in them by value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", str(text))]


def walk(folder: Path) -> Iterator[tuple[Path, list[str], bool]]:
    """``folder`` and all folders below it, except those below a run, with their files and whether they are a run."""
    for root, subfolders, files in os.walk(folder):
        run = RunFolder(root)
        is_run = bool({run.config.name, run.metrics.name} & set(files)) or (
            run.hydra.name in subfolders and (run.hydra / "overrides.yaml").is_file()
        )
        yield Path(root), sorted(files, key=natural_order), is_run
        searched = [name for name in subfolders if not name.startswith(".") and name not in _SKIPPED_FOLDERS]
        subfolders[:] = [] if is_run else sorted(searched, key=natural_order)


def _sweep_record(path: Path) -> dict[str, Any]:
    """The record of the job in ``path`` that a sweep wrote (see ``cli/sweep.py``); empty if there is none."""
    for record in (path.parent / SWEEP_RECORDS).glob("*.json"):
        try:
            content = json.loads(record.read_text(encoding="utf-8"))
            if Path(content["folder"]).resolve() == path.resolve():
                return content
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # not a record
    return {}


def _yaml(path: Path) -> Any:
    return read_yaml(path) if path.is_file() else None


class _Config(BaseModel):
    """The keys of a configuration that reports read; all others are allowed."""

    name: str | int | float | None = None
    model: dict[str, JsonValue] | None = None
    data: dict[str, JsonValue] | None = None
    paper: dict[str, JsonValue] | None = None


class _Result(BaseModel):
    perplexity: float | None = None


class _Validation(BaseModel):
    epoch: float | None = None
    valid_perplexity: float | None = None
    seconds: float | None = None


class _Move(BaseModel):
    seconds: float | None = None


class _Round(BaseModel):
    round: int | None = None
    valid_perplexity: float | None = None
    reallocation: _Move | None = None


class _Typical(BaseModel):
    rows: list[JsonValue] | None = None


class _Checkpoint(BaseModel):
    path: str | None = None
    sha256: str | None = None


class _Metrics(BaseModel):
    """The keys of metrics that reports read; all others are allowed."""

    status: str | None = None
    name: str | int | float | None = None
    seed: int | None = None
    error: str | None = None
    parameters: int | None = None
    components: int | None = None
    vocabulary: int | None = None
    bytes: dict[str, int] | None = None
    tokens: dict[str, int | None] | None = None
    words_per_second: float | None = None
    seconds: float | None = None
    history: list[_Validation] | None = None
    rounds: list[_Round] | None = None
    validation: _Result | None = None
    test: _Result | None = None
    protocol: dict[str, JsonValue] | None = None
    typical: _Typical | None = None
    checkpoint: _Checkpoint | None = None


def _checked(schema: type[BaseModel], content: Any) -> dict[str, Any]:
    """The content, after its types were checked.

    Raises:
        ValueError: If it does not match ``schema``.
    """
    schema.model_validate(_mapping(content), strict=True)
    return _mapping(content)


def _mapping(content: Any) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"expected a mapping, got {type(content).__name__}")
    return content
