"""Checkpoints from which a killed run resumes and ends bit-identical to an uninterrupted one.

During training, ``last.ckpt`` is written in the middle of epochs only, never at a validation or a reallocation.
Training between two checkpoints is deterministic, so a resumed run repeats it exactly.  A last checkpoint is written at
the end of training: a run that is interrupted in its final evaluation resumes there.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from pydantic import BaseModel, ConfigDict, Field
from pytorch_lightning.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lightrnn_pl.checks import check_count, check_number
from lightrnn_pl.files import atomic_write
from lightrnn_pl.tensor_file import read_tensors
from lightrnn_pl.training.progress import is_accumulating, validates_after
from lightrnn_pl.training.ranks import gather_from_ranks, select_own_rank

log = logging.getLogger(__name__)

_STEPS_BETWEEN_BROADCASTS = 16


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and renames it once it is complete."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with atomic_write(path) as file:
            torch.save(checkpoint, file)

    @override
    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint, which may contain tensors and plain values only.

        Raises:
            ValueError: If the file is damaged; the message contains the remedy.
        """
        try:
            checkpoint = read_tensors(Path(path))
            state = _Checkpoint.model_validate(checkpoint, strict=True).state_dict
        except ValueError as error:
            raise InvalidCheckpointError(path) from error
        for name, tensor in state.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise ValueError(
                    f"the run in {Path(path).parent} has diverged: {name} contains NaN or infinite values, so it "
                    "cannot resume; restart it with resume=false and a lower learning rate"
                )
        return checkpoint


class InvalidCheckpointError(ValueError):
    """A checkpoint to resume from is damaged."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(
            f"{path} is damaged, so the run cannot resume; delete it to restart the run from scratch. "
            "Restarting overwrites best.ckpt (the best model so far); make a copy first"
        )


class _Checkpoint(BaseModel):
    """The parts of a checkpoint without which training would silently restart from its beginning."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    epoch: int
    global_step: int
    state_dict: dict[str, torch.Tensor]
    loops: Annotated[dict[str, Any], Field(min_length=1)]
    callbacks: Annotated[dict[str, Annotated[dict[str, Any], Field(min_length=1)]], Field(min_length=1)]
    optimizer_states: Annotated[list[dict[str, Any]], Field(min_length=1)]


class ResumePoint(pl.Callback):
    """Writes ``last.ckpt``, including the states of the random generators.

    Args:
        path: The file.
        every_minutes: Minimum time between two checkpoints.
        every_steps: Training steps between two checkpoints; if not None, ``every_minutes`` is ignored.

    Attributes:
        is_restored: Whether training has started, after everything in the checkpoint was restored.
        is_training_complete: Whether the checkpoint is that of the end of training.
    """

    def __init__(self, path: str | Path, every_minutes: float = 2.0, every_steps: int | None = None) -> None:
        check_number("resume_point.every_minutes", every_minutes, at_least=0)
        if every_steps is not None:
            check_count("resume_point.every_steps", every_steps)
        self.path = Path(path)
        self.every_minutes = every_minutes
        self.every_steps = every_steps
        self._written = time.monotonic()
        self._due = False
        self._generators: dict[str, Any] | None = None
        self.is_restored = False
        self.is_training_complete = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Skip training if it was complete, whatever ended it."""
        if self.is_training_complete:
            log.info("training was complete; only the final evaluation follows")
            trainer.should_stop = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the random generators of the checkpoint."""
        self._written = time.monotonic()
        if self._generators is not None:
            torch.set_rng_state(self._generators["cpu"])
            if torch.cuda.is_available() and self._generators["cuda"] is not None:
                torch.cuda.set_rng_state(self._generators["cuda"])
        self.is_restored = True

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Write a checkpoint if one is due, unless a validation or the end of the epoch follows this batch."""
        if self.every_steps is not None:
            self._due |= trainer.global_step > 0 and trainer.global_step % self.every_steps == 0
        else:
            self._due |= self._is_late(trainer)
        if self._due:
            self.write(trainer, args[2])

    def write(self, trainer: pl.Trainer, batch_idx: int) -> None:
        """Write a checkpoint, unless gradients are being accumulated, or a validation or the end of the epoch follows.

        Args:
            trainer: The trainer, after the batch.
            batch_idx: Number of the batch within the epoch, counted from 0.
        """
        # A checkpoint does not contain accumulated gradients.
        if not is_accumulating(trainer, batch_idx) and not validates_after(trainer, batch_idx):
            trainer.save_checkpoint(self.path, weights_only=False)
            self._written, self._due = time.monotonic(), False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last checkpoint, unless training was so short that there is none to replace."""
        if trainer.strategy.broadcast(self.path.is_file()):
            self.is_training_complete = True
            trainer.save_checkpoint(self.path, weights_only=False)

    def state_dict(self) -> dict[str, Any]:
        """The states of the random generators of every rank, and whether training is complete."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        ranks = gather_from_ranks({"cpu": torch.get_rng_state(), "cuda": cuda})
        return {"ranks": ranks, "is_training_complete": self.is_training_complete}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store the states; they are restored when training starts."""
        self._generators = select_own_rank(state_dict["ranks"])
        self.is_training_complete = state_dict.get("is_training_complete", False)

    def _is_late(self, trainer: pl.Trainer) -> bool:
        # All ranks must write at the same step, so the first rank decides.  Its broadcast is too slow for every step.
        if trainer.world_size > 1 and trainer.global_step % _STEPS_BETWEEN_BROADCASTS:
            return False
        return bool(trainer.strategy.broadcast(time.monotonic() - self._written > 60 * self.every_minutes))
