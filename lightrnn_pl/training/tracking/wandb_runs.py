"""Weights & Biases runs: offline unless logged in, one run per job, and the bundle as an artifact."""

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

from lightrnn_pl.training.tracking.loggers import Cell, FigureLogger, RunFolderWandbLogger


def offline_unless_logged_in() -> None:
    """Set WANDB_MODE=offline if there is neither a mode nor an API key, so that W&B does not prompt for one.

    W&B's messages are silenced in offline mode, because there is no run page to link to.  W&B reads these variables
    when its logger is created.
    """
    if "WANDB_MODE" not in os.environ and not has_api_key():
        os.environ["WANDB_MODE"] = "offline"
    if os.environ.get("WANDB_MODE") == "offline":
        os.environ.setdefault("WANDB_SILENT", "true")


def finish(loggers: Sequence[Logger], metrics: Mapping[str, Any], bundle: Path | None = None) -> None:
    """Log the results of a job, and close its W&B run, because the next job in this process would log to it.

    Args:
        loggers: The loggers of the job; empty if it failed before they were created.
        metrics: The content of ``metrics.json``.
        bundle: The best model, to be uploaded as an artifact; None to upload none.
    """
    for logger in loggers:
        if isinstance(logger, FigureLogger):
            logger.log_results(summary_metrics(metrics))
        if isinstance(logger, RunFolderWandbLogger) and logger.upload_bundle and bundle is not None:
            run = logger.experiment
            run.log_artifact(_artifact(run, metrics, bundle), aliases=["best", _artifact_name(run.name)])
    if wandb.run is not None:
        wandb.finish(exit_code=0 if metrics.get("status") == "completed" else 1)


def summary_metrics(metrics: Mapping[str, Any]) -> dict[str, Cell]:
    """The metrics by which runs are compared, taken from the content of ``metrics.json``; unknown ones are omitted.

    Perplexities are those of the best model; bytes include its parameters and its tables.
    """
    summary: dict[str, Cell] = {
        key: metrics.get(key) for key in ("status", "parameters", "words_per_second", "seconds")
    }
    for split in ("validation", "test"):
        summary[f"{split}/perplexity"] = (metrics.get(split) or {}).get("perplexity")
    summary["bytes"] = sum(metrics["bytes"].values()) if metrics.get("bytes") else None
    summary["rounds"] = len(metrics.get("rounds") or ()) or None
    return {key: value for key, value in summary.items() if value is not None}


def _artifact(run: Any, metrics: Mapping[str, Any], bundle: Path) -> wandb.Artifact:
    keys = ("seed", "commit", "vocabulary", "sides", "table", "checkpoint")
    artifact = wandb.Artifact(
        f"{_artifact_name(run.name)}-{run.id}",
        type="model",
        description="weights, word table, vocabulary and configuration; load with lightrnn_pl.load",
        metadata={**{key: metrics.get(key) for key in keys}, **summary_metrics(metrics)},
    )
    # Reference the file in the run folder instead of copying it to W&B's cache.
    artifact.add_file(str(bundle), policy="immutable", skip_cache=True)
    return artifact


def _artifact_name(name: str) -> str:
    """The name, restricted to characters that W&B accepts in artifact names and aliases."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-") or "run"


def has_api_key() -> bool:
    """Whether an API key for the configured W&B server is available."""
    # wandb itself is not asked, because it would then read its settings before the mode is set.
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
