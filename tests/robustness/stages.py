"""The stages that ``chaos.py`` attacks: functions of a folder for their files and of the files of a small text."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

TINY = ("optimizer.lr=0.5", "reallocation.epochs_per_round=1", "reallocation.patience=9")
TRAINING = (*TINY, "trainer.max_epochs=4", "trainer.limit_train_batches=25", "resume_point.every_steps=5")


def write_inputs(folder: Path) -> dict[str, Path]:
    """Three small files of random sentences, and next to them the folder ``runs`` with two runs."""
    from tests.reporting.folders import make_run

    for seed in (1, 2):
        make_run(folder / "runs" / str(seed), seed=seed)
    generator = np.random.default_rng(0)
    files = {}
    for split, lines in (("train", 250), ("valid", 40), ("test", 40)):
        files[split] = folder / f"{split}.txt"
        words = [" ".join(f"w{word % 40}" for word in generator.zipf(1.4, 6)) for _ in range(lines)]
        files[split].write_text("\n".join(words) + "\n", encoding="utf-8")
    return files


def train(folder: Path, files: dict[str, Path]) -> None:
    """Build the cache, train with reallocations, and write checkpoints, bundles and plots."""
    _train(folder, files, *TRAINING, "reallocation.max_rounds=3")


def reallocate(folder: Path, files: dict[str, Path]) -> None:
    """Train for few steps between many reallocations that measure, price and solve."""
    rounds = ("trainer.max_epochs=8", "reallocation.max_rounds=8", "reallocation/objective=joint")
    _train(folder, files, *TINY, *rounds, "trainer.limit_train_batches=3", "resume_point.every_steps=2")


def write_checkpoints(folder: Path, files: dict[str, Path]) -> None:
    """Train and write a checkpoint after each step."""
    _train(folder, files, *TRAINING, "reallocation=none", "trainer.max_epochs=3", "resume_point.every_steps=1")


def _train(folder: Path, files: dict[str, Path], *overrides: str) -> None:
    from lightrnn_pl.training.experiment import train as train_model
    from lightrnn_pl.training.folder_lock import exclusive_lock
    from tests.training.runs import compose_run

    config = compose_run(folder / "run", files, *overrides)
    with exclusive_lock(folder / "run"):
        train_model(config)


def sweep(folder: Path, files: dict[str, Path]) -> None:
    """``lightrnn-train -m`` with two jobs."""
    from lightrnn_pl.cli.entry_points import train as command
    from tests.training.runs import SMALL

    small = [override for override in SMALL if not override.startswith("seed=")]
    text = ["data=text", *(f"data.{split}={path}" for split, path in files.items())]
    folders = [f"hydra.sweep.dir={folder / 'sweep'}", f"paths.cache_dir={folder / 'cache'}"]
    sys.argv = ["lightrnn-train", "-m", "seed=0,1", *small, *text, *folders, *TRAINING, "trainer.max_epochs=2"]
    command()


def export(folder: Path, files: dict[str, Path]) -> None:
    """Export a model, replacing an earlier export."""
    from lightrnn_pl.export.bundle_writer import write_bundle
    from lightrnn_pl.export.folders import new_folder
    from tests.export.bundles import bundle_of

    for name in ("slim", "lightrnn"):
        with new_folder(folder / "export", overwrite=True) as new:
            write_bundle(bundle_of(name), new)


def report(folder: Path, files: dict[str, Path]) -> None:
    """Write the report of two runs."""
    from omegaconf import OmegaConf

    from lightrnn_pl.commands.report import report as write_report

    options = {
        "runs": [str(files["train"].parent / "runs")],
        "output": str(folder / "report"),
        "title": "chaos",
        "keep": None,
    }
    write_report(OmegaConf.create(options))


def cache(folder: Path, files: dict[str, Path]) -> None:
    """Build a token cache."""
    from lightrnn_pl.data.corpus import TextCorpus
    from lightrnn_pl.data.tokens import open_cache
    from lightrnn_pl.vocabulary import VocabularyRules

    open_cache(TextCorpus(**{split: str(path) for split, path in files.items()}), VocabularyRules(), folder / "cache")


STAGES: dict[str, Callable[[Path, dict[str, Path]], None]] = {
    "training": train,
    "reallocation": reallocate,
    "checkpoint writing": write_checkpoints,
    "caching": cache,
    "export": export,
    "sweep": sweep,
    "report": report,
}


def preload() -> None:
    """Import everything before processes are forked."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(1)
    for name in (
        *("lightrnn_pl.commands.report", "lightrnn_pl.commands.train", "lightrnn_pl.export.bundle_writer"),
        *("datasets", "safetensors.torch", "tests.export.bundles", "tests.reporting.folders", "matplotlib.figure"),
    ):
        importlib.import_module(name)


def result_of(folder: Path) -> dict[str, str]:
    """The hash of every result in ``folder``, and the names of all other files.

    The hash of a bundle, a checkpoint or an array file is that of its tensors.
    """
    results = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".ckpt":
            data = _tensors_of(path)
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                data = b"".join(arrays[key].tobytes() for key in sorted(arrays))
        elif path.suffix in (".bin", ".lines", ".safetensors") or path.name in ("vocabulary", "report.csv"):
            data = path.read_bytes()
        else:
            data = b""  # times and paths differ
        results[name] = hashlib.sha256(data).hexdigest()
    return results


def _tensors_of(checkpoint: Path) -> bytes:
    import torch

    content = torch.load(checkpoint, weights_only=True)
    tensors = content.get("state", content.get("state_dict"))
    return b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors.values())


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.part")]


def completed_runs(folder: Path) -> dict[Path, int]:
    """When the bundles and the metrics of completed runs were written."""
    times = {}
    for metrics in folder.rglob("metrics.json"):
        if json.loads(metrics.read_text()).get("status") == "completed":
            times.update({path: path.stat().st_mtime_ns for path in (metrics, metrics.with_name("best.ckpt"))})
    return times


def size_of(folder: Path) -> int:
    """The bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
