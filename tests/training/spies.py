"""Callbacks that record the state of each process of a run; test runs add them through overrides."""

import os
import signal
from pathlib import Path

import pytorch_lightning as pl
import torch


class LeaveTraces(pl.Callback):
    """Saves the state of each process after the first step and at the end; optionally kills one process at a step."""

    def __init__(self, folder: str, kill_at: int | None = None, kill_rank: int = 0) -> None:
        self.folder = Path(folder)
        self.kill_at = kill_at
        self.kill_rank = kill_rank

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if trainer.global_step == 1:
            self._leave(trainer, pl_module, "first")
        if trainer.global_step == self.kill_at:
            # Wait for the other processes, because all of them take part in writing a checkpoint.
            trainer.strategy.barrier()
            if trainer.global_rank == self.kill_rank:
                (self.folder / "killed").write_text(str(trainer.global_rank))
                os.kill(os.getpid(), signal.SIGKILL)

    def on_train_end(self, trainer, pl_module) -> None:
        self._leave(trainer, pl_module, "last")

    def _leave(self, trainer, pl_module, moment: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        traces = {
            "world_size": trainer.world_size,
            "state": pl_module.model.state_dict(),
            "hidden": list(pl_module._state or ()),
            "generator": torch.get_rng_state(),
        }
        torch.save(traces, self.folder / f"{moment}-{trainer.global_rank}.pt")
