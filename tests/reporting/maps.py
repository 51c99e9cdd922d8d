"""Run folders with a tiny model and its word tables in three rounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.allocation.word_allocation import WordAllocation
from tests.reporting.folders import make_run
from tests.serving.models import tiny_bundle


def tables_of(num_words: int, sides: tuple[int, ...], last: WordAllocation) -> list[TableSnapshot]:
    """Tables of three rounds.

    The second round reallocates words at random; the third one only swaps two words within a row.
    """
    first = WordAllocation.random(num_words, sides, seed=5).codes.numpy().astype(int)
    third = last.codes.numpy().astype(int)
    second = third.copy()
    swapped = np.flatnonzero(third[:, 0] == 0)[:2]
    second[swapped] = second[swapped[::-1]]
    losses = np.linspace(1.0, 12.0, num_words)
    some_losses = np.where(np.arange(num_words) == 3, np.nan, losses + 0.26)
    return [
        TableSnapshot.of(first, sides, losses, "training"),
        TableSnapshot.of(second, sides),
        TableSnapshot.of(third, sides, some_losses, "validation"),
    ]


def make_run_with_tables(path: Path, seed: int = 0, test: float = 100.0, kept: bool = True, **changes: object) -> Path:
    """A completed run with ``best.ckpt`` and, if ``kept``, the tables of three rounds."""
    bundle = tiny_bundle()
    allocation = bundle.model.allocation
    rounds = [
        {
            "round": number,
            "valid_perplexity": 130.0 - 5 * number,
            **({"reallocation": MOVE} if number < 3 else {}),
        }
        for number in (1, 2, 3)
    ]
    history = [
        {
            "epoch": float(epoch),
            "valid_perplexity": 200.0 / epoch + seed,
            "round": (epoch + 1) // 2,
            "seconds": epoch * 60,
        }
        for epoch in range(1, 7)
    ]
    metrics = {"vocabulary": allocation.num_words, "rounds": rounds, "history": history}
    make_run(path, seed, test, metrics, **changes)
    bundle.save(path / "best.ckpt")
    if kept:
        for number, table in enumerate(tables_of(allocation.num_words, allocation.sides, allocation), start=1):
            table.save(path / "tables" / f"round_{number}.npz")
    return path


MOVE = {
    "nll_before": 5.4,
    "nll_predicted": 4.1,
    "nll_measured": 8.7,
    "gap": 0.0008,
    "share_moved": 0.9,
    "seconds": 12.5,
}
