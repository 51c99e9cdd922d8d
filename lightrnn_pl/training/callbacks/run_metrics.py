"""``metrics.json``: what a run has reached, written after every validation and at its end, whatever the end."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.files import write_json
from lightrnn_pl.training.progress import epochs_done, learning_rate
from lightrnn_pl.training.reallocation.callback import Reallocation

log = logging.getLogger(__name__)


class RunMetrics(pl.Callback):
    """Measures speed, keeps the history of validations, and writes all that is known to a file.

    Args:
        path: The JSON file.
        facts: What does not change: parameters, bytes, corpus, protocol, seed.
        reallocation: Whose rounds are reported.
    """

    def __init__(self, path: str | Path, facts: dict[str, Any], reallocation: Reallocation) -> None:
        self.path = Path(path)
        self.facts = facts
        self.reallocation = reallocation
        self.history: list[dict[str, Any]] = []
        self._words = 0
        self._seconds = 0.0
        self._mark: float | None = None  # when the last step ended; None where something else came after it
        self._since = (0, 0.0)

    @property
    def words_per_second(self) -> float:
        """Training speed over the whole run: words trained on, by all ranks, a second of training steps."""
        return self._words / self._seconds if self._seconds else 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The time between epochs is no training."""
        self._mark = None

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Start the clock again after a validation and whatever came with it."""
        if self._mark is None:
            self._mark = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Add the time since the last step, loading included."""
        batch: Batch = args[1]
        self._words += int(batch.mask.sum()) * trainer.world_size
        now = time.perf_counter()
        self._seconds += now - (now if self._mark is None else self._mark)
        self._mark = now

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the rate of the steps that are judged; at the end, the schedule will have set that of the next ones."""
        self._rate = learning_rate(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a line of history; write the file."""
        if not trainer.sanity_checking:
            self.note(trainer, float(trainer.callback_metrics["valid/nll"]), self._rate)

    def note(self, trainer: pl.Trainer, nll: float, rate: float) -> None:
        """Add a validation of ``nll`` nats a word, after steps at a learning rate, to the history; write the file."""
        words, seconds = self._since
        self._since = (self._words, self._seconds)
        elapsed = self._seconds - seconds
        known = trainer.callback_metrics
        self.history.append(
            {
                "epoch": epochs_done(trainer),
                "step": trainer.global_step,
                # The callback that moves words runs after this one, so the round is the one validated.
                "round": self.reallocation.round,
                "valid_perplexity": perplexity(nll),
                "train_nll": float(known["train/nll"]) if "train/nll" in known else None,
                "learning_rate": rate,
                "words_per_second": (self._words - words) / elapsed if elapsed else None,
                "seconds": self.reallocation.seconds,
            }
        )
        self._tell(self.history[-1])
        for logger in trainer.loggers:
            logger.log_metrics({"words_per_second": self.words_per_second}, step=trainer.global_step)
        if trainer.is_global_zero:
            self.write("running")
        self._mark = None

    @rank_zero_only
    def _tell(self, line: dict[str, Any]) -> None:
        speed = f", {line['words_per_second']:,.0f} words/s" if line["words_per_second"] else ""
        log.info(
            "epoch %.4g, round %d: valid perplexity %.2f, learning rate %.3g%s",
            *(line[key] for key in ("epoch", "round", "valid_perplexity", "learning_rate")),
            speed,
        )

    def write(self, status: str, **more: Any) -> dict[str, Any]:
        """Write the file, and return what was written.

        Args:
            status: ``running``, ``completed``, ``interrupted`` or ``failed``.
            more: Added at the top level.
        """
        content = without_infinities(
            {
                "status": status,
                **self.facts,
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
        """What a resumed run needs."""
        return {"history": self.history, "words": self._words, "seconds": self._seconds, "since": list(self._since)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self.history = state_dict["history"]
        self._words, self._seconds = state_dict["words"], state_dict["seconds"]
        self._since = (state_dict["since"][0], state_dict["since"][1])


def without_infinities(content: Any) -> Any:
    """The same content with None for numbers that JSON does not have."""
    if isinstance(content, dict):
        return {key: without_infinities(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_infinities(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
