"""Run folders as they are found on disk: of one run, of a sweep, or only what was kept of them.

A run folder holds ``config.yaml`` and ``metrics.json``, either of which may be missing where a run was cut off early;
of a job that did not get so far there is only what Hydra wrote before it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightrnn_pl.run_folder import RunFolder

_HYDRA, _JOBS = ".hydra", ".jobs"
_NO_RUNS_BELOW = ("wandb",)
"""Folders that are not looked into: W&B has files called config.yaml, too."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder.
        name: What the run calls itself; the folder's name where it did not get to say.
        seed: Its seed.
        config: The resolved configuration as plain containers, empty where none was written.
        metrics: What ``metrics.json`` says, empty where none was written.
        overrides: What was given on the command line, as Hydra noted it; empty where that is not known.
        choices: The option of each config group, as Hydra noted it; empty where that is not known.
        status: ``completed``, ``running`` (also where the process is no more), ``interrupted``, ``failed``,
            ``started`` (before the first metrics) or ``unreadable``.
        error: What went wrong.
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
        """The name of the text that it was trained on."""
        return (self.metrics.get("protocol") or {}).get("corpus")


def find_runs(folders: Iterable[str | Path]) -> list[Run]:
    """The runs in ``folders`` and below them, each once, in the order of their names (2 before 10).

    Raises:
        FileNotFoundError: If one of ``folders`` is no folder.
    """
    found: dict[Path, Run] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; pass run folders, or folders that contain them")
        for path, _, is_run in walk(folder):
            if is_run:
                found.setdefault(path.resolve(), read_run(path))
    return list(found.values())


def read_run(path: str | Path) -> Run:
    """The run in ``path``; its status says if it cannot be read."""
    path, folder = Path(path), RunFolder(path)
    config: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    overrides: tuple[str, ...] = ()
    choices: dict[str, str] = {}
    unreadable = None
    try:
        config = _mapping(_yaml(folder.config) or _yaml(path / _HYDRA / folder.config.name, resolve=False))
        metrics = _mapping(folder.read_metrics())
        overrides = tuple(map(str, _yaml(path / _HYDRA / "overrides.yaml") or metrics.get("overrides") or ()))
        choices = _mapping(_choices(path / _HYDRA / "hydra.yaml") or metrics.get("choices"))
    except Exception as error:  # whatever a parser makes of a broken file
        unreadable = f"{type(error).__name__}: {error}"
    told = metrics or _note_of_the_sweep(path)
    seed = metrics.get("seed", config.get("seed"))
    name = metrics.get("name", config.get("name"))
    return Run(
        path,
        # Before Hydra's note is resolved, the name may be made of things that only Hydra knows.
        path.resolve().name if name is None or "${" in str(name) else str(name),
        seed if isinstance(seed, int) else None,
        config,
        metrics,
        overrides,
        choices,
        "unreadable" if unreadable else told.get("status", "started"),
        unreadable or told.get("error"),
    )


def natural_order(text: object) -> list[Any]:
    """A key to sort names by, numbers in them by their value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", str(text))]


def walk(folder: Path) -> Iterator[tuple[Path, list[str], bool]]:
    """Each folder in ``folder`` and below, with its files and whether it is a run; nothing below a run."""
    for root, below, files in os.walk(folder):
        run = RunFolder(root)
        is_run = bool({run.config.name, run.metrics.name} & set(files)) or (
            _HYDRA in below and (Path(root) / _HYDRA / "overrides.yaml").is_file()
        )
        yield Path(root), sorted(files, key=natural_order), is_run
        names = [] if is_run else [name for name in below if not name.startswith(".") and name not in _NO_RUNS_BELOW]
        below[:] = sorted(names, key=natural_order)


def _note_of_the_sweep(path: Path) -> dict[str, Any]:
    """What a sweep noted of its job in ``path`` (``cli/sweep.py``), which may have failed before all else."""
    for note in (path.parent / _JOBS).glob("*.json"):
        content = json.loads(note.read_text(encoding="utf-8"))
        if Path(content["folder"]).resolve() == path.resolve():
            return content
    return {}


def _choices(path: Path) -> dict[str, str]:
    """The options of the project's own config groups, of all that Hydra noted of itself."""
    noted = (_yaml(path, resolve=False) or {}).get("hydra") or {}
    choices = (noted.get("runtime") or {}).get("choices") or {}
    return {group: option for group, option in choices.items() if option and not group.startswith("hydra")}


def _yaml(path: Path, resolve: bool = True) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path), resolve=resolve) if path.is_file() else None


def _mapping(content: Any) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"a mapping was expected, found {type(content).__name__}")
    return content
