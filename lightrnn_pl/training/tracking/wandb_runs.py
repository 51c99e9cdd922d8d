"""Weights & Biases: offline unless logged in, one run a job, the bundle as an artifact."""

from __future__ import annotations

import netrc
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from pytorch_lightning.loggers import Logger

from lightrnn_pl.training.tracking.loggers import Cell, PictureLogger, RunFolderWandbLogger


def offline_unless_logged_in() -> None:
    """Set WANDB_MODE=offline where there is neither a mode nor a key, so that no job waits for an answer.

    An offline run has no page to point to, so W&B then keeps silent; the run folder has the files.
    """
    if "WANDB_MODE" not in os.environ and not has_key():
        os.environ["WANDB_MODE"] = "offline"
    if os.environ.get("WANDB_MODE") == "offline":
        os.environ.setdefault("WANDB_SILENT", "true")
    wandb.setup()  # reads the two before Lightning's logger makes it print anything


def finish(loggers: Sequence[Logger], metrics: Mapping[str, Any], bundle: Path | None = None) -> None:
    """Tell dashboards what a job came to, and close its W&B run, or the next job would write into it.

    Args:
        loggers: Those of the job; none if it failed before it had any.
        metrics: What ``metrics.json`` holds.
        bundle: The best model, which becomes an artifact of the W&B run; None where there is none to keep.
    """
    for logger in loggers:
        if isinstance(logger, PictureLogger):
            logger.conclude(results(metrics))
        if isinstance(logger, RunFolderWandbLogger) and logger.upload_bundle and bundle is not None:
            run = logger.experiment
            run.log_artifact(_artifact(run, metrics, bundle), aliases=["best", _plain(run.name)])
    if wandb.run is not None:
        wandb.finish(exit_code=0 if metrics.get("status") == "completed" else 1)


def results(metrics: Mapping[str, Any]) -> dict[str, Cell]:
    """The numbers by which runs are compared, out of what ``metrics.json`` holds; the unknown ones are left out.

    Perplexities are the best model's, bytes those of its parameters and of its tables together.
    """
    found: dict[str, Cell] = {key: metrics.get(key) for key in ("status", "parameters", "words_per_second", "seconds")}
    for split in ("validation", "test"):
        found[f"{split}/perplexity"] = (metrics.get(split) or {}).get("perplexity")
    found["bytes"] = sum(metrics["bytes"].values()) if metrics.get("bytes") else None
    found["rounds"] = len(metrics.get("rounds") or ()) or None
    return {key: value for key, value in found.items() if value is not None}


def _artifact(run: Any, metrics: Mapping[str, Any], bundle: Path) -> wandb.Artifact:
    told = ("seed", "commit", "vocabulary", "sides", "table", "checkpoint")
    artifact = wandb.Artifact(
        f"{_plain(run.name)}-{run.id}",
        type="model",
        description="weights, word table, vocabulary, configuration; lightrnn_pl.load reads it",
        metadata={**{key: metrics.get(key) for key in told}, **results(metrics)},
    )
    # The file in the run folder itself: an offline run needs no copy of it elsewhere.
    artifact.add_file(str(bundle), policy="immutable", skip_cache=True)
    return artifact


def _plain(name: str) -> str:
    """The name in characters that W&B takes for artifacts and aliases."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-") or "run"


def has_key() -> bool:
    """Whether somebody has logged in to the W&B server that is meant."""
    # Asking wandb itself would fix its settings before the mode is set.
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
