"""The word tables of a run, packed for the report page: words, counts, and the cells and losses of each round.

The data is compressed and base64-encoded.  A table of 800,000 words takes a few megabytes per round, and the page can
decode it in a worker.  ``page/word_tables.js`` reads this format.
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
from lightrnn_pl.checkpoint import load_allocation
from lightrnn_pl.reporting.runs import Run
from lightrnn_pl.run_folder import RunFolder

LOSS_STEP = 0.1
"""Resolution of losses in nats; a byte encodes losses up to 25.4 nats, and 0 means unknown."""


@dataclass(frozen=True)
class WordMap:
    """The word tables of a run.

    Attributes:
        name: The label of the run.
        words: The words of the vocabulary.
        counts: Occurrences of the words in the training text, (V,).
        rounds: The number and the word table of each round, in order.
    """

    name: str
    words: Sequence[str]
    counts: Integer[np.ndarray, " V"]
    rounds: Sequence[tuple[int, TableSnapshot]]

    @classmethod
    def of_run(cls, run: Run, name: str) -> WordMap | None:
        """The word tables that a run saved, or that of its best model if it saved none.

        Returns:
            None if there is no model, or its words have one code each.

        Raises:
            ValueError: If a file is damaged or belongs to another vocabulary.
        """
        folder = RunFolder(run.path)
        if not folder.best.is_file() or (run.metrics.get("components") or 1) < 2:
            return None
        vocabulary, allocation = load_allocation(folder.best)
        rounds = [(number, TableSnapshot.load(path)) for number, path in folder.round_tables().items()]
        for number, snapshot in rounds:
            if len(snapshot.codes) != len(vocabulary) or snapshot.sides != allocation.sides:
                raise ValueError(
                    f"{folder.round_table(number)} has {len(snapshot.codes)} words and sides "
                    f"{list(snapshot.sides)}, but best.ckpt has {len(vocabulary)} words and sides "
                    f"{list(allocation.sides)}; remove the file that belongs to another run"
                )
        if not rounds:
            last = max((summary["round"] for summary in run.metrics.get("rounds") or ()), default=1)
            rounds = [(last, TableSnapshot.of(allocation.codes.numpy(), allocation.sides))]
        return cls(name, vocabulary.words, vocabulary.counts, rounds)

    def packed(self) -> tuple[dict[str, Any], dict[str, str]]:
        """A description for the page, and the parts ``words``, ``counts``, and ``cells_N``, ``losses_N`` per round."""
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
        description = {
            "name": self.name,
            "words": len(self.words),
            "sides": list(sides),
            "step": LOSS_STEP,
            "rounds": [{"number": number, "text": snapshot.text} for number, snapshot in self.rounds],
        }
        return description, parts


def _planes(values: Integer[np.ndarray, " V"]) -> bytes:
    """32-bit numbers as byte planes (all low bytes first), which compress better because high bytes are similar."""
    clipped = np.minimum(values, np.iinfo(np.uint32).max).astype("<u4")
    return clipped.view(np.uint8).reshape(-1, 4).T.tobytes()


def _steps(losses: Float[np.ndarray, " V"]) -> Integer[np.ndarray, " V"]:
    steps = np.rint(np.nan_to_num(losses, nan=-1.0) / LOSS_STEP) + 1
    return np.where(np.isnan(losses), 0, np.clip(steps, 1, 255)).astype(np.uint8)


def _pack(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode("ascii")
