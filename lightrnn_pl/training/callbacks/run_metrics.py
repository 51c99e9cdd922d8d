"""``metrics.json``: the metrics of a run, written after every validation and at its end, even if it fails."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.files import write_json
from lightrnn_pl.number_text import epochs_text, perplexity_text
from lightrnn_pl.training.progress import epochs_done, learning_rate
from lightrnn_pl.training.reallocation.callback import Reallocation

log = logging.getLogger(__name__)


class RunMetrics(pl.Callback):
    """Measures the training speed, keeps the history of validations, and writes them to a file.

    Args:
        path: The JSON file.
        metadata: Entries that do not change: parameters, bytes, corpus, protocol, seed.
        reallocation: The callback whose rounds are reported.
    """

    def __init__(self, path: str | Path, metadata: dict[str, Any], reallocation: Reallocation) -> None:
        self.path = Path(path)
        self.metadata = metadata
        self.reallocation = reallocation
        self.history: list[dict[str, Any]] = []
        self._words = 0
        self._new_words: torch.Tensor | None = None  # on the device: reading them in each step would wait for it
        self._seconds = 0.0
        self._last_step_end: float | None = None  # None if the next step does not follow the last one directly
        self._at_last_validation = (0, 0.0)

    @property
    def words_per_second(self) -> float:
        """Training speed over the whole run, summed over all ranks; only the time of training steps counts."""
        self._read_new_words()
        return self._words / self._seconds if self._seconds else 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: the time between epochs does not count."""
        self._last_step_end = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the time that the device needs to finish the steps, unless a validation has."""
        self._read_new_words()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Restart the clock if it was stopped."""
        if self._last_step_end is None:
            self._last_step_end = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Add the words of this step and the time since the last one, which includes loading the batch."""
        batch: Batch = args[1]
        words = batch.mask.sum() * trainer.world_size
        self._new_words = words if self._new_words is None else self._new_words + words
        self._add_time()

    def _add_time(self) -> None:
        if self._last_step_end is not None:
            now = time.perf_counter()
            self._seconds += now - self._last_step_end
            self._last_step_end = now

    def _read_new_words(self) -> None:
        """Add the words of the steps since the last call, and the time that the device needs to finish these steps."""
        if self._new_words is not None:
            self._words += int(self._new_words)
            self._new_words = None
            self._add_time()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the current learning rate, because the schedule changes it before :meth:`on_validation_end`."""
        self._read_new_words()
        self._last_step_end = None
        self._rate = learning_rate(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the validation to the history, and write the file."""
        if not trainer.sanity_checking:
            self.record_validation(trainer, float(trainer.callback_metrics["valid/nll"]), self._rate)

    def record_validation(self, trainer: pl.Trainer, nll: float, rate: float) -> None:
        """Add a validation to the history, log it, and write the file.

        Args:
            trainer: The running trainer.
            nll: The validation loss, in nats per word.
            rate: The learning rate of the steps before the validation.
        """
        self._read_new_words()
        words, seconds = self._at_last_validation
        self._at_last_validation = (self._words, self._seconds)
        elapsed = self._seconds - seconds
        latest = trainer.callback_metrics
        self.history.append(
            {
                "epoch": epochs_done(trainer),
                "step": trainer.global_step,
                # Reallocation runs after this callback, so this is still the round that was validated.
                "round": self.reallocation.round,
                "valid_perplexity": perplexity(nll),
                "train_nll": float(latest["train/nll"]) if "train/nll" in latest else None,
                "learning_rate": rate,
                "words_per_second": (self._words - words) / elapsed if elapsed else None,
                "seconds": self.reallocation.seconds,
            }
        )
        self._log_validation(self.history[-1])
        for logger in trainer.loggers:
            logger.log_metrics({"words_per_second": self.words_per_second}, step=trainer.global_step)
        if trainer.is_global_zero:
            self.write("running")
        self._last_step_end = None

    @rank_zero_only
    def _log_validation(self, entry: dict[str, Any]) -> None:
        speed = f", {entry['words_per_second']:,.0f} words/s" if entry["words_per_second"] else ""
        log.info(
            "epoch %s, round %d: validation perplexity %s, lr %.3g%s",
            *(epochs_text(entry["epoch"]), entry["round"], perplexity_text(entry["valid_perplexity"])),
            *(entry["learning_rate"], speed),
        )

    def write(self, status: str, **more: Any) -> dict[str, Any]:
        """Write the file, and return its content.

        Args:
            status: ``running``, ``completed``, ``interrupted`` or ``failed``.
            more: Further top-level entries.
        """
        content = without_infinities(
            {
                "status": status,
                **self.metadata,
                "words_per_second": self.words_per_second,
                "seconds": self.reallocation.seconds,
                "rounds": self.reallocation.rounds,
                "history": self.history,
                **more,
            }
        )
        write_json(self.path, content)
        return content

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        self._read_new_words()
        return {
            "history": self.history,
            "words": self._words,
            "seconds": self._seconds,
            "since": list(self._at_last_validation),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self.history = state_dict["history"]
        self._words, self._seconds = state_dict["words"], state_dict["seconds"]
        self._at_last_validation = (state_dict["since"][0], state_dict["since"][1])


def without_infinities(content: Any) -> Any:
    """The same content with None in place of infinity and NaN, which JSON does not support."""
    if isinstance(content, dict):
        return {key: without_infinities(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_infinities(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
