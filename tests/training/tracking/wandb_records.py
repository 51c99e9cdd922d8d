"""Reading an offline W&B run back with W&B's own reader, ``wandb leet inspect``."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.util import get_core_path


@dataclass
class OfflineRun:
    """The records of a run, and the folder of its files."""

    files: Path
    run: dict[str, Any]
    summary: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    artifacts: list[dict[str, Any]]

    def figures(self, name: str) -> list[tuple[int, Path]]:
        """The training step and the file of each figure logged as ``name``."""
        return [
            (line["trainer/global_step"], self.files / file)
            for line in self.history
            for file in line.get(f"{name}.filenames", ())
        ]

    def tables(self, name: str) -> list[list[dict[str, Any]]]:
        """The rows of each table logged as ``name``."""
        paths = [self.files / line[f"{name}.path"] for line in self.history if f"{name}.path" in line]
        contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        return [[dict(zip(content["columns"], row, strict=True)) for row in content["data"]] for content in contents]


def read_back(run_dir: Path) -> OfflineRun:
    """The last offline run in a run folder."""
    folder = max((run_dir / "wandb").glob("offline-run-*"))
    (log,) = folder.glob("*.wandb")
    records = [json.loads(line) for line in _inspect(log).splitlines()]
    whole = json.loads(_inspect(log, "--summary"))
    of_type = {kind: [record[kind] for record in records if record["type"] == kind] for kind in ("run", "history")}
    artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
    history = [line["item"] for line in of_type["history"]]
    return OfflineRun(folder / "files", of_type["run"][0], whole["summary"], whole["config"], history, artifacts)


def _inspect(log: Path, *options: str) -> str:
    # As wandb/cli/leet.py calls it, without seconds of imports.
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *options]
    command += ["--run-file", str(log), str(log.parents[1])]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
