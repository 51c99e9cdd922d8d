"""Weights & Biases: offline unless logged in, one run a job, the rounds as a table."""

from __future__ import annotations

import netrc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger


def offline_unless_logged_in() -> None:
    """Set WANDB_MODE=offline where there is neither a mode nor a key, so that no job waits for an answer.

    An offline run has no page to point to, so W&B then keeps silent; the run folder has the files.
    """
    if "WANDB_MODE" not in os.environ and not _has_key():
        os.environ["WANDB_MODE"] = "offline"
    if os.environ.get("WANDB_MODE") == "offline":
        os.environ.setdefault("WANDB_SILENT", "true")
    wandb.setup()  # reads the two before Lightning's logger makes it print anything


def finish(loggers: Sequence[Logger], metrics: dict[str, Any], pictures: Sequence[Path] = ()) -> None:
    """Write the end of a job to its W&B run, if it has one, and close it, or the next job would write into it."""
    for logger in loggers:
        if not isinstance(logger, WandbLogger) or wandb.run is None:
            continue
        run = logger.experiment
        for split in ("validation", "test"):
            if metrics.get(split):
                run.summary[f"{split}/perplexity"] = metrics[split]["perplexity"]
        for key in ("parameters", "words_per_second", "status"):
            run.summary[key] = metrics.get(key)
        rounds = metrics.get("rounds") or []
        if rounds:
            moves = [done.get("reallocation") or {} for done in rounds]
            table = wandb.Table(
                columns=["round", "epochs", "valid_perplexity", "predicted_nll", "measured_nll", "moved"]
            )
            for done, move in zip(rounds, moves, strict=True):
                told = (move.get("nll_predicted"), move.get("nll_measured"), move.get("words_moved"))
                table.add_data(done["round"], done["epochs"], done["valid_perplexity"], *told)
            run.log({"rounds": table})
        for picture in pictures:
            run.log({picture.stem: wandb.Image(str(picture))})
    if wandb.run is not None:
        wandb.finish(exit_code=0 if metrics.get("status") == "completed" else 1)


def _has_key() -> bool:
    # Asking wandb itself would fix its settings before the mode is set.
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
