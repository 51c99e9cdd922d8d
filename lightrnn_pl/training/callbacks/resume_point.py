"""Resuming after a kill at any moment, to the very bits of the run that was not killed.

``last.ckpt`` is written in the middle of epochs only, never at a validation or a reallocation: what lies between two
such files is deterministic, and a resumed run simply does it again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lightrnn_pl.files import atomic_write
from lightrnn_pl.training.progress import validates_after
from lightrnn_pl.training.ranks import for_this_rank, from_all_ranks

_STEPS_BETWEEN_QUESTIONS = 16


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there when it is whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """See Lightning's ``CheckpointIO``."""
        with atomic_write(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See Lightning's ``CheckpointIO``.

        Raises:
            ValueError: If the file is damaged, with the remedy.
        """
        try:
            return super().load_checkpoint(path, *args, **kwargs)
        except Exception as error:  # bytes that are no checkpoint make the reader fail in any way at all
            raise ValueError(
                f"{path} is damaged, the run cannot go on from it; remove it to start the run over (best.ckpt, the "
                "best model so far, is another file: keep a copy)"
            ) from error


class ResumePoint(pl.Callback):
    """Writes ``last.ckpt`` and carries the random generators over.

    Args:
        path: The file.
        every_minutes: Time between two writes, at the least.
        every_steps: Write every so many training steps instead, where given.
    """

    def __init__(self, path: str | Path, every_minutes: float = 2.0, every_steps: int | None = None) -> None:
        self.path = Path(path)
        self.every_minutes = every_minutes
        self.every_steps = every_steps
        self._written = time.monotonic()
        self._due = False
        if every_minutes < 0 or (every_steps is not None and every_steps < 1):
            raise ValueError(
                f"resume_point.every_minutes={every_minutes} must not be negative, and every_steps={every_steps} at "
                "least 1 or null"
            )
        self._generators: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the generators as they were when the checkpoint was written."""
        self._written = time.monotonic()
        if self._generators is not None:
            torch.set_rng_state(self._generators["cpu"])
            if torch.cuda.is_available() and self._generators["cuda"] is not None:
                torch.cuda.set_rng_state(self._generators["cuda"])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Write where one is due and no validation or end of epoch follows this batch."""
        batch_idx = args[2]
        if self.every_steps is not None:
            self._due |= trainer.global_step > 0 and trainer.global_step % self.every_steps == 0
        else:
            self._due |= self._is_late(trainer)
        # Gradients that wait for more batches are in no checkpoint.
        accumulates = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if self._due and not accumulates and not validates_after(trainer, batch_idx):
            trainer.save_checkpoint(self.path, weights_only=False)
            self._written, self._due = time.monotonic(), False

    def state_dict(self) -> dict[str, Any]:
        """The random generators of every rank now."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return {"ranks": from_all_ranks({"cpu": torch.get_rng_state(), "cuda": cuda})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep them until training starts."""
        self._generators = for_this_rank(state_dict["ranks"])

    def _is_late(self, trainer: pl.Trainer) -> bool:
        # All ranks write together, by the clock of the first; asking it is a message, so not at every step.
        if trainer.world_size > 1 and trainer.global_step % _STEPS_BETWEEN_QUESTIONS:
            return False
        return bool(trainer.strategy.broadcast(time.monotonic() - self._written > 60 * self.every_minutes))
