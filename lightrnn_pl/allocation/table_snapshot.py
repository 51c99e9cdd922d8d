"""A word table as it was in one round of a bootstrap: codes, and what each word then cost.  One ``.npz`` a round.

Knows numbers and a file; neither words nor the run that they are of.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from lightrnn_pl.files import atomic_write


@dataclass(frozen=True)
class TableSnapshot:
    """The table of one round.

    Attributes:
        codes: The words' codes, (V, k), in the smallest type that holds them.
        sides: Length of each axis.
        word_nll: Mean negative log-likelihood of each word in nats over its occurrences; NaN where unknown.
        text: What ``word_nll`` was measured on, ``training`` or ``validation``; empty if it was not.
    """

    codes: Integer[np.ndarray, "V k"]
    sides: tuple[int, ...]
    word_nll: Float[np.ndarray, " V"]
    text: str = ""

    @classmethod
    def of(
        cls,
        codes: Integer[np.ndarray, "V k"],
        sides: tuple[int, ...],
        word_nll: Float[np.ndarray, " V"] | None = None,
        text: str = "",
    ) -> TableSnapshot:
        """A snapshot in the types that it is kept in; words whose loss is not given are unknown."""
        dtype = np.min_scalar_type(max(sides) - 1)
        known = np.full(len(codes), np.nan) if word_nll is None else word_nll
        return cls(np.asarray(codes).astype(dtype), tuple(sides), known.astype(np.float32), text)

    def save(self, path: str | Path) -> None:
        """Write it, atomically."""
        with atomic_write(path) as file:
            np.savez_compressed(
                file, codes=self.codes, sides=np.array(self.sides), word_nll=self.word_nll, text=np.array(self.text)
            )

    @classmethod
    def load(cls, path: str | Path) -> TableSnapshot:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as parts:
                codes, sides, word_nll = parts["codes"], parts["sides"].tolist(), parts["word_nll"]
                text = str(parts["text"])
        except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is damaged or no word table of a round: {error}; take the file away") from error
        if codes.shape != (len(word_nll), len(sides)):
            raise ValueError(f"{path} has codes of shape {codes.shape} for {len(word_nll)} words and sides {sides}")
        return cls(codes, tuple(sides), word_nll, text)
