"""The word tables of a run, packed for the page: words, counts, and for each round the cells and losses.

Everything is bytes, deflated and in base64, so that a page of 800,000 words stays a few megabytes a round and a browser
unpacks it beside the page, not in it.  The page's side of the format is ``page/tables.js``.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.checkpoint import table_of
from lightrnn_pl.reporting.runs import Run
from lightrnn_pl.run_folder import RunFolder

LOSS_STEP = 0.1
"""Nats that losses are rounded to; a byte holds up to 25.4 of them, and 0 for unknown."""


@dataclass(frozen=True)
class WordMap:
    """A run's word tables.

    Attributes:
        name: What the run is called.
        words: In descending order of their counts.
        counts: Occurrences in the training text, (V,).
        rounds: Number of each round and its table, in order.
    """

    name: str
    words: Sequence[str]
    counts: Integer[np.ndarray, " V"]
    rounds: Sequence[tuple[int, TableSnapshot]]

    @classmethod
    def of_run(cls, run: Run, name: str) -> WordMap | None:
        """The tables that a run has kept, or of a run that kept none that of its best model.

        Returns:
            None where there is no model, or its words have one code each.

        Raises:
            ValueError: If a file is damaged, or of another vocabulary.
        """
        folder = RunFolder(run.path)
        if not folder.best.is_file() or (run.metrics.get("components") or 1) < 2:
            return None
        vocabulary, allocation = table_of(folder.best)
        rounds = [(number, TableSnapshot.load(path)) for number, path in folder.round_tables().items()]
        for number, snapshot in rounds:
            if len(snapshot.codes) != len(vocabulary) or snapshot.sides != allocation.sides:
                raise ValueError(
                    f"tables/round_{number}.npz in {run.path} is a table of {len(snapshot.codes)} words, sides "
                    f"{list(snapshot.sides)}, and best.ckpt one of {len(vocabulary)}, sides {list(allocation.sides)}; "
                    "take away what is of another run"
                )
        if not rounds:
            last = max((done["round"] for done in run.metrics.get("rounds") or ()), default=1)
            rounds = [(last, TableSnapshot.of(allocation.codes.numpy(), allocation.sides))]
        return cls(name, vocabulary.words, vocabulary.counts, rounds)

    def packed(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What the page needs, and the parts: ``words``, ``counts``, and of each round ``cells_N``, ``losses_N``."""
        order = np.argsort(-self.counts, kind="stable")
        sides = self.rounds[0][1].sides
        parts = {
            "words": _pack("\n".join(self.words[word] for word in order.tolist()).encode("utf-8", "replace")),
            "counts": _pack(_planes(self.counts[order])),
        }
        for number, snapshot in self.rounds:
            cells = np.ravel_multi_index(tuple(snapshot.codes[order].astype(np.int64).T), sides)
            parts[f"cells_{number}"] = _pack(_planes(cells))
            if not np.isnan(snapshot.word_nll).all():
                parts[f"losses_{number}"] = _pack(_steps(snapshot.word_nll[order]).tobytes())
        told = {
            "name": self.name,
            "words": len(self.words),
            "sides": list(sides),
            "step": LOSS_STEP,
            "rounds": [{"number": number, "text": snapshot.text} for number, snapshot in self.rounds],
        }
        return told, parts


def _planes(values: Integer[np.ndarray, " V"]) -> bytes:
    """32-bit numbers, the low bytes of all before the second bytes of all ...: the high ones are much alike."""
    whole = np.minimum(values, np.iinfo(np.uint32).max).astype("<u4")
    return whole.view(np.uint8).reshape(-1, 4).T.tobytes()


def _steps(losses: Float[np.ndarray, " V"]) -> Integer[np.ndarray, " V"]:
    steps = np.rint(np.nan_to_num(losses, nan=-1.0) / LOSS_STEP) + 1
    return np.where(np.isnan(losses), 0, np.clip(steps, 1, 255)).astype(np.uint8)


def _pack(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode("ascii")
