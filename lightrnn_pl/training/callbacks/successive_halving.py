"""Stops unpromising jobs of a sweep early: asynchronous successive halving (ASHA; Li et al. 2020, Algorithm 2).

After 1, 3, 9, ... times ``first_epoch`` epochs, a job continues only if its best validation perplexity so far is among
the best third of the jobs of the sweep that have reached this epoch, including itself.  Jobs are compared by their
``metrics.json``, so this works with every launcher and sampler, and with jobs that run in parallel or were resumed.  A
stopped job is complete, and its perplexity is what the sampler gets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightrnn_pl.checks import check_count
from lightrnn_pl.distributed import from_first_rank
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.callbacks.run_metrics import RunMetrics

log = logging.getLogger(__name__)


class SuccessiveHalving(pl.Callback):
    """Stops this job if it is not among the best at one of the epochs at which jobs are compared.

    Args:
        run_dir: The run folder; the other jobs of the sweep are the folders next to it.
        first_epoch: The epochs before the first comparison.
        reduction: One of this number of jobs continues after a comparison, and trains this number of times as long
            until the next one.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, run_dir: str, first_epoch: int = 2, reduction: int = 3) -> None:
        check_count("first_epoch", first_epoch)
        check_count("reduction", reduction, at_least=2)
        self.run_dir, self.first_epoch, self.reduction = Path(run_dir), first_epoch, reduction

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the jobs if an epoch of comparison has been reached."""
        if trainer.sanity_checking:
            return
        (metrics,) = (callback for callback in trainer.callbacks if isinstance(callback, RunMetrics))  # type: ignore[attr-defined]
        rung = self._reached_rung([entry["epoch"] for entry in metrics.history])
        if rung is not None and from_first_rank(lambda: not self._continues(metrics.history, rung)):
            log.info("stopped after epoch %d: not among the best 1/%d of the sweep", rung, self.reduction)
            trainer.should_stop = True

    def _reached_rung(self, epochs: Sequence[float]) -> int | None:
        """The epoch of comparison that the last validation has reached, but none before; None if there is none."""
        before, now = epochs[-2] if len(epochs) > 1 else 0, epochs[-1]
        rung, reached = self.first_epoch, None
        while rung <= now:
            reached = rung if rung > before else None
            rung *= self.reduction
        return reached

    def _continues(self, history: Sequence[dict[str, Any]], rung: int) -> bool:
        own = perplexity_at(history, rung)
        siblings = (folder for folder in self.run_dir.parent.iterdir() if folder.is_dir() and folder != self.run_dir)
        others = [perplexity_at(RunFolder(folder).read_metrics().get("history", []), rung) for folder in siblings]
        reached = [perplexity for perplexity in others if perplexity is not None]
        assert own is not None
        better = sum(perplexity < own for perplexity in reached)
        return better < math.ceil((len(reached) + 1) / self.reduction)


def perplexity_at(history: Sequence[dict[str, Any]], epoch: int) -> float | None:
    """The best validation perplexity up to the first validation at ``epoch`` or later; None if there is none yet."""
    best = math.inf
    for entry in history:
        perplexity = entry["valid_perplexity"]
        best = min(best, math.inf if perplexity is None or math.isnan(perplexity) else perplexity)
        if entry["epoch"] >= epoch:
            return best
    return None
