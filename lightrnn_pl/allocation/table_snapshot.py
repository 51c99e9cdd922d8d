"""The allocation of one round and the loss of each word, stored as one ``.npz`` file per round."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from lightrnn_pl.files import atomic_write


@dataclass(frozen=True)
class TableSnapshot:
    """The allocation of one round.

    Attributes:
        codes: The codes of the words, (V, k), in the narrowest type that can store them.
        sides: Length of each axis.
        word_nll: Mean negative log-likelihood of each word in nats; NaN if unknown.
        text: The text on which ``word_nll`` was measured, ``training`` or ``validation``; empty if it was not measured.
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
        """A snapshot with arrays converted to the types of the attributes; None as ``word_nll`` means unknown."""
        dtype = np.min_scalar_type(max(sides) - 1)
        word_nll = np.full(len(codes), np.nan) if word_nll is None else word_nll
        return cls(np.asarray(codes).astype(dtype), tuple(sides), word_nll.astype(np.float32), text)

    def save(self, path: str | Path) -> None:
        """Write the snapshot atomically."""
        with atomic_write(path) as file:
            np.savez_compressed(
                file, codes=self.codes, sides=np.array(self.sides), word_nll=self.word_nll, text=np.array(self.text)
            )

    @classmethod
    def load(cls, path: str | Path) -> TableSnapshot:
        """Read a snapshot written by ``save``.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file is damaged or is not a snapshot.
        """
        try:
            with np.load(path, allow_pickle=False) as parts:
                codes, sides, word_nll = parts["codes"], parts["sides"].tolist(), parts["word_nll"]
                text = str(parts["text"])
        except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is damaged or is not the word table of a round: {error}; delete the file"
            ) from error
        if codes.shape != (len(word_nll), len(sides)):
            raise ValueError(
                f"{path}: codes of shape {codes.shape} do not match {len(word_nll)} words and sides {sides}"
            )
        return cls(codes, tuple(sides), word_nll, text)
