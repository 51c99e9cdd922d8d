"""The metrics of a reallocation.

They appear in ``metrics.json``, in the loggers as ``reallocation/NAME``, and in the terminal.  To add a metric, add an
entry to :func:`reallocation_metrics`.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytorch_lightning as pl
from jaxtyping import Bool, Real
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lightrnn_pl.allocation.solvers import KeepSolver
from lightrnn_pl.number_text import perplexity_text
from lightrnn_pl.training.reallocation.objectives import Proposal

log = logging.getLogger(__name__)


def reallocation_metrics(
    proposal: Proposal,
    measured: tuple[float, ...] | None,
    changed: Bool[Tensor, " V"],
    counts: Real[Tensor, " V"],
) -> dict[str, Any]:
    """Predicted and measured effects of a reallocation; losses are in nats per word of the training text.

    Args:
        proposal: The new codes with their predicted losses.
        measured: The losses per axis after the reallocation; None if they were not measured.
        changed: Words that have new codes.
        counts: Occurrences of each word in the training text.
    """
    tokens = counts.sum().item()
    before, predicted = (np.array(by_axis) / tokens for by_axis in (proposal.before, proposal.predicted))
    solution = proposal.solution
    return {
        "nll_before": float(before.sum()),
        "nll_predicted": float(predicted.sum()),
        "nll_measured": None if measured is None else sum(measured),
        "nll_before_by_axis": before.tolist(),
        "nll_predicted_by_axis": predicted.tolist(),
        "nll_measured_by_axis": None if measured is None else list(measured),
        "cost": solution.cost,
        "lower_bound": solution.lower_bound,
        "gap": solution.gap,
        "words_moved": int(changed.sum()),
        "share_moved": int(changed.sum()) / len(changed),
        "tokens_moved": counts[changed].sum().item() / tokens,
        "seconds_solver": solution.seconds,
    }


def report(trainer: pl.Trainer, summary: dict[str, Any]) -> None:
    """Log the summary of a round that ended with a reallocation.

    Args:
        trainer: The trainer whose loggers receive the metrics.
        summary: The round as in ``metrics.json``, with the metrics under ``reallocation``.
    """
    metrics = summary["reallocation"]
    nll = metrics["nll_measured"]
    measured = "not measured" if nll is None else f"{nll:.4f} measured before more training"
    is_control = metrics["solver"] == KeepSolver.__name__
    lines = [
        f"{'Control' if is_control else 'Reallocation'} after round {summary['round']} "
        f"(validation perplexity {perplexity_text(summary['valid_perplexity'])}):",
        f"training NLL {metrics['nll_before']:.4f} -> {metrics['nll_predicted']:.4f} predicted, {measured}",
        f"{metrics['seconds']:.1f} s ({metrics['share_of_training_time']:.2%} of training time so far)",
    ]
    if not is_control:
        words = f"{metrics['words_moved']:,} words reallocated ({metrics['share_moved']:.1%}, "
        lines.insert(1, f"{words}{metrics['tokens_moved']:.1%} of the tokens), gap {metrics['gap']:.3%}")
    log_once("\n  ".join(lines))
    numbers = {f"reallocation/{name}": value for name, value in metrics.items() if isinstance(value, int | float)}
    for logger in trainer.loggers:
        logger.log_metrics({**numbers, "round": summary["round"]}, step=trainer.global_step)


@rank_zero_only
def log_once(message: str) -> None:
    """Log a message on the first rank only."""
    log.info(message)
