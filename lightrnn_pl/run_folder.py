"""The files of a run folder.  This is the only module that names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.checks import one_line
from lightrnn_pl.files import atomic_write, remove_partial_files, write_json

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # much faster, where PyYAML was built with libyaml
SWEEP_RECORDS = ".jobs"
"""Subfolder of a sweep folder with the status of each job."""


class RunFolder:
    """The paths of a run folder.

    Attributes:
        config: The resolved configuration.
        metrics: The metrics measured so far.
        best: The bundle with the best validation perplexity.
        last: The checkpoint to resume from.
        initial_vocabulary: The words of the model that training started from (``init_from``).
        initial_model: This model, if it was extended by new words (``init_from_new_words``).
        perplexity_plot: Plot of validation perplexity by epoch.
        tables: Folder with the allocation of each round.
        hydra: What Hydra records about the run: overrides and choices.
        lock: Locked while a process trains in the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.json"
        self.best = self.path / "best.ckpt"
        self.last = self.path / "last.ckpt"
        self.initial_vocabulary = self.path / "initial_vocabulary.txt"
        self.initial_model = self.path / "initial_model.ckpt"
        self.perplexity_plot = self.path / "perplexity.png"
        self.tables = self.path / "tables"
        self.hydra = self.path / ".hydra"
        self.lock = self.path / ".lock"

    def write_config(self, config: DictConfig) -> None:
        """Write the resolved configuration."""
        with atomic_write(self.config, "w") as file:
            file.write(OmegaConf.to_yaml(config, resolve=True))

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Replace the metrics."""
        write_json(self.metrics, metrics)

    def read_metrics(self) -> dict[str, Any]:
        """The metrics written so far; empty if there are none.

        Raises:
            ValueError: If the file is damaged.
        """
        if not self.metrics.is_file():
            return {}
        try:
            content = json.loads(self.metrics.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.metrics} is damaged: {error}; delete it, or restore it from a copy") from error
        if not isinstance(content, dict):
            raise ValueError(f"{self.metrics} is damaged: it is not a mapping; delete it, or restore it from a copy")
        return content

    def command(self) -> dict[str, Any]:
        """The ``overrides`` and the ``choices`` of groups of the last command in this folder, as recorded by Hydra.

        Empty if there was none.  The choices do not include Hydra's own groups.
        """
        overrides, record = self.hydra / "overrides.yaml", self.hydra / "hydra.yaml"
        command: dict[str, Any] = {}
        if overrides.is_file():
            command["overrides"] = [str(override) for override in read_yaml(overrides)]
        if record.is_file():
            runtime = (_mapping(_mapping(read_yaml(record)).get("hydra"))).get("runtime")
            choices = _mapping(_mapping(runtime).get("choices"))
            command["choices"] = {
                group: option for group, option in choices.items() if option and not group.startswith("hydra")
            }
        return command

    def round_table(self, number: int) -> Path:
        """The file with the allocation of a round, counted from 1."""
        return self.tables / f"round_{number}.npz"

    def round_tables(self) -> dict[int, Path]:
        """The existing allocation files by round, in ascending order."""
        files = {int(path.stem.rpartition("_")[2]): path for path in self.tables.glob("round_*.npz")}
        return dict(sorted(files.items()))

    def remove_leftovers(self) -> None:
        """Delete the incomplete files that a killed process left; no other process may use the folder."""
        for folder in (self.path, self.tables):
            remove_partial_files(folder)

    def clear(self) -> None:
        """Delete the files of an earlier run."""
        for path in (self.config, self.metrics, self.best, self.last, self.perplexity_plot):
            path.unlink(missing_ok=True)
        for table in self.round_tables().values():
            table.unlink()


def _mapping(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def read_yaml(path: Path) -> dict[str, Any] | list[Any]:
    """The content of a YAML file that this package or Hydra wrote, without resolving interpolations.

    Interpolations of an untrusted file could read environment variables.

    Raises:
        ValueError: If the file is damaged, or contains aliases, by which a small file can describe a huge structure.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_LOADER)):
            raise ValueError("it contains aliases")
        content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        assert isinstance(content, dict | list)
        return content  # type: ignore[return-value]
    except Exception as error:  # YAML and OmegaConf raise many kinds of exceptions
        raise ValueError(f"{path} is damaged: {one_line(error)}; delete it, or restore it from a copy") from error


def bundle_file(path: str | Path) -> Path:
    """The bundle of a run folder.  A path that is not a folder is returned unchanged."""
    path = Path(path)
    return RunFolder(path).best if path.is_dir() else path
