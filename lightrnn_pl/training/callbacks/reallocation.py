"""The bootstrap: train until validation converges, move the words, train on (LightRNN, section 3.2).

One round is a stretch of training under one word table.  At its end the callback goes back to the round's best
weights, gathers the loss statistics in one pass over the training text, hands them to a solver, and moves the words.
A model without a table (k = 1) has a single round, and the callback is its early stopping.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lightrnn_pl.allocation.solvers import Solver
from lightrnn_pl.allocation.statistics import LossStatistics
from lightrnn_pl.checks import check_choice
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.training.callbacks.schedule import RoundSchedule
from lightrnn_pl.training.console import print_typical
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.moving import Mover
from lightrnn_pl.training.objectives import Objective
from lightrnn_pl.training.progress import epochs_done, learning_rate, validation_interval
from lightrnn_pl.training.statistics import Storage, add, empty_statistics
from lightrnn_pl.training.table_record import TableRecord
from lightrnn_pl.types import Hidden, WordMask, Words

log = logging.getLogger(__name__)

_ROUNDING = 1e-6
"""Epochs are counted in parts of one."""


@dataclass
class _Round:
    """What is known of the round under way."""

    first_epoch: float = 0.0
    best: float = math.inf
    weights: dict[str, Tensor] | None = None
    stalls: int = 0
    validations: list[float] = field(default_factory=list)


class Reallocation(pl.Callback):
    """Fires at validation-convergence boundaries.

    A round has converged after ``patience`` validations in a row without a gain of ``min_gain``, or when the learning
    rate has fallen below ``min_learning_rate``, or after ``epochs_per_round`` where given.

    Args:
        solver: Solves the objective's problems.
        schedule: Starts over with each round.
        objective: Proposes where words go.
        max_rounds: Rounds in all; there is one reallocation less.
        patience: See above.
        min_gain: Nats a word by which validation must fall to count as a gain.
        min_learning_rate: See above.
        epochs_per_round: See above; a list gives the length of each round, the last one that of all further ones; null
            leaves it to the other two.
        min_round_gain: Nats a word by which a round must better the best round before it, or it is the last; null
            lets it be.
        max_hours: No new round is started after so many hours of training.
        optimizer_state: ``keep`` or ``rebuild`` (momenta and the like start from nothing) at a reallocation.
        statistics: Gather the loss statistics in a ``pass`` over the training text, or in ``training``, from the
            round's last epoch as it is trained, as the paper suggests; see ``training/statistics.py``.
        storage, inputs, sample_every, measure: See :class:`~lightrnn_pl.training.moving.Mover`.
        record: Keeps the table of each round; None for a run that keeps none.
    """

    def __init__(
        self,
        solver: Solver,
        schedule: RoundSchedule,
        objective: Objective,
        max_rounds: int = 4,
        patience: int = 2,
        min_gain: float = 0.0,
        min_learning_rate: float = 0.0,
        epochs_per_round: int | Sequence[int] | None = None,
        min_round_gain: float | None = None,
        max_hours: float | None = None,
        optimizer_state: Literal["keep", "rebuild"] = "rebuild",
        statistics: Literal["pass", "training"] = "pass",
        storage: Storage = "auto",
        inputs: Literal["keep", "project"] = "keep",
        sample_every: int = 10,
        measure: bool = True,
        record: TableRecord | None = None,
    ) -> None:
        for name, count in (("max_rounds", max_rounds), ("patience", patience)):
            if count < 1:
                raise ValueError(f"reallocation.{name} must be at least 1, got {count}")
        lengths = [epochs_per_round] if isinstance(epochs_per_round, int) else epochs_per_round
        if lengths is not None and (len(lengths) == 0 or min(lengths) < 1):
            raise ValueError(
                f"reallocation.epochs_per_round must be at least 1, for each round or for all, or null, got "
                f"{epochs_per_round}"
            )
        check_choice("reallocation.optimizer_state", optimizer_state, ("keep", "rebuild"))
        check_choice("reallocation.statistics", statistics, ("pass", "training"))
        self.mover = Mover(solver, objective, storage, inputs, sample_every, measure)
        self.schedule = schedule
        self.max_rounds = max_rounds
        self.patience = patience
        self.min_gain = min_gain
        self.min_learning_rate = min_learning_rate
        self._lengths = lengths
        self.min_round_gain = min_round_gain
        self.max_hours = max_hours
        self.optimizer_state = optimizer_state
        self.statistics = statistics
        self.record = record
        self.rounds: list[dict[str, Any]] = []
        self._now = _Round()
        self._in_training: LossStatistics | None = None  # of the epoch under way, from its first batch on
        self._seconds_watching = 0.0
        self._epoch = 0.0  # epochs done at the last validation
        self._earlier_seconds = 0.0
        self._started = time.monotonic()

    @property
    def round(self) -> int:
        """The round under way, counted from 1."""
        return len(self.rounds) + 1

    @property
    def _length(self) -> int | None:
        """Epochs of the round under way, where fixed."""
        return None if self._lengths is None else self._lengths[min(self.round, len(self._lengths)) - 1]

    @property
    def seconds(self) -> float:
        """Training time of all runs of this training."""
        return self._earlier_seconds + time.monotonic() - self._started

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; a model without a table has one round."""
        self._started = time.monotonic()
        assert isinstance(pl_module, LanguageModelingModule)
        if pl_module.model.allocation.num_components == 1 and self.max_rounds > 1:
            _tell("This model has no word table (k = 1): training ends when validation first converges.")
            self.max_rounds = 1
        if self.max_rounds > 1:
            self.mover.check(pl_module.model)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse what cannot be gathered, now that the trainer knows how long an epoch is; keep the first table."""
        if self.max_rounds > 1 and self.statistics == "training" and validation_interval(trainer) < 1 - _ROUNDING:
            raise ValueError(
                "reallocation.statistics=training adds up whole epochs, but validation falls within them; set "
                "trainer.val_check_interval=1.0 or reallocation.statistics=pass"
            )
        assert isinstance(pl_module, LanguageModelingModule)
        allocation = pl_module.model.allocation
        if self.record is not None and allocation.num_components > 1 and trainer.is_global_zero:
            self.record.begin(self.round, allocation)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        """Begin to watch an epoch that can be its round's last; a run resumed in the middle of one lets it be."""
        assert isinstance(pl_module, LanguageModelingModule)
        if index > 0 or self.statistics != "training" or self.round >= self.max_rounds:
            return
        self._in_training = pl_module.observer = None
        epochs = trainer.current_epoch + 1 - self._now.first_epoch
        is_last = self._length is not None and epochs > self._length - _ROUNDING
        if is_last or self._now.stalls + 1 >= self.patience:
            self._in_training = empty_statistics(pl_module.model, self.mover.storage)
            self._seconds_watching = 0.0
            pl_module.observer = self._watch

    def _watch(self, hidden: Hidden, targets: Words, mask: WordMask) -> None:
        started = time.monotonic()
        assert self._in_training is not None
        add(self._in_training, hidden, targets, mask)
        self._seconds_watching += time.monotonic() - started

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the round, and end it where it has converged."""
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, LanguageModelingModule)
        nll = float(trainer.callback_metrics["valid/nll"])
        if not math.isfinite(perplexity(nll)):
            raise FloatingPointError(
                f"validation loss is {nll} in epoch {trainer.current_epoch}: training has diverged; lower "
                "optimizer.lr, or set a smaller trainer.gradient_clip_val"
            )
        self.observe(trainer, nll, pl_module.model)
        reason = self._convergence(trainer)
        if reason is None:
            return
        # The clocks of ranks differ, and all must do the same.
        is_last = self.round >= self.max_rounds or self._is_cut_off(trainer)
        if is_last or trainer.strategy.broadcast(self._is_spent()):
            trainer.should_stop = True
            _tell(f"Round {self.round} ends ({reason}); training is done.")
        else:
            _tell(f"Round {self.round} ends ({reason}); reallocating.")
            self._reallocate(trainer, pl_module)

    def finish(self) -> None:
        """Close the last round; called once training is over."""
        if self._now.validations:
            self.rounds.append(self._round_summary())
            self._now = _Round(self._epoch)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, the round's best weights among it."""
        return {"rounds": self.rounds, "now": vars(self._now), "epoch": self._epoch, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self.rounds = state_dict["rounds"]
        self._now = _Round(**state_dict["now"])
        self._epoch = state_dict["epoch"]
        self._earlier_seconds = state_dict["seconds"]

    def observe(self, trainer: pl.Trainer, nll: float, model: LanguageModel) -> None:
        """Note a validation of ``nll`` nats a word, and the weights if it is the round's best."""
        self._epoch = epochs_done(trainer)
        now = self._now
        now.validations.append(nll)
        now.stalls = 0 if nll < now.best - self.min_gain else now.stalls + 1
        if nll < now.best:
            now.best = nll
            if self.round < self.max_rounds:  # the last round is never gone back to: its best is in the bundle
                now.weights = {name: part.detach().cpu().clone() for name, part in model.state_dict().items()}

    def _convergence(self, trainer: pl.Trainer) -> str | None:
        rate = learning_rate(trainer)
        if self._now.stalls >= self.patience:
            return f"no gain in {self._now.stalls} validations"
        if rate < self.min_learning_rate:
            return f"learning rate {rate:.3g} is below {self.min_learning_rate:.3g}"
        epochs = self._epoch - self._now.first_epoch
        if self._length is not None and epochs > self._length - _ROUNDING:
            return f"{self._length} epochs"
        return None

    def _is_cut_off(self, trainer: pl.Trainer) -> bool:
        # Words that are moved when no validation follows any more would never be judged.
        next_validation = self._epoch + validation_interval(trainer)
        steps = validation_interval(trainer) * trainer.num_training_batches / trainer.accumulate_grad_batches
        max_epochs, max_steps = trainer.max_epochs or -1, trainer.max_steps
        return 0 <= max_epochs < next_validation - _ROUNDING or 0 <= max_steps < trainer.global_step + int(steps)

    def _is_spent(self) -> bool:
        if self.max_hours is not None and self.seconds > 3600 * self.max_hours:
            return True
        if self.min_round_gain is None or not self.rounds:
            return False
        return self._now.best > min(done["valid_nll"] for done in self.rounds) - self.min_round_gain

    def _round_summary(self) -> dict[str, Any]:
        return {
            "round": self.round,
            "epochs": round(self._epoch - self._now.first_epoch, 3),
            "valid_nll": self._now.best,
            "valid_perplexity": perplexity(self._now.best),
            "validations": [perplexity(nll) for nll in self._now.validations],
        }

    def _reallocate(self, trainer: pl.Trainer, module: LanguageModelingModule) -> None:
        assert self._now.weights is not None
        module.model.load_state_dict(self._now.weights)
        first, watched = self._in_training, self._seconds_watching
        self._in_training = module.observer = None
        if first is None and self.statistics == "training":
            _tell("Resumed mid-epoch: collecting loss statistics in a separate pass.")
        move = self.mover.move(trainer, module, first)
        facts = move.facts
        facts["statistics"] = self.statistics if first is None else "training"
        for key in ("seconds_statistics", "seconds"):
            facts[key] += watched if first is not None else 0.0
        facts["share_of_training_time"] = facts["seconds"] / self.seconds
        summary = {**self._round_summary(), "reallocation": facts}
        self._report(trainer, summary)
        if self.record is not None and trainer.is_global_zero:
            self.record.moved(self.round, move, module.model.allocation)
            facts["typical"] = self.record.typical(module.model.allocation)
            print_typical(facts["typical"])
        self.rounds.append(summary)

        self.schedule.start_round(trainer)
        if self.optimizer_state == "rebuild":
            for optimizer in trainer.optimizers:
                optimizer.state.clear()
        module.reset_state()
        self._now = _Round(self._epoch)

    def _report(self, trainer: pl.Trainer, summary: dict[str, Any]) -> None:
        facts = summary["reallocation"]
        nll = facts["nll_measured"]
        measured = "not measured" if nll is None else f"{nll:.4f} measured with the new codes fed"
        _tell(
            f"Reallocation after round {summary['round']} (valid perplexity {summary['valid_perplexity']:.2f}): "
            f"train NLL {facts['nll_before']:.4f} -> {facts['nll_predicted']:.4f} predicted, "
            f"{measured}; {facts['words_moved']} words moved "
            f"({facts['share_moved']:.1%}, {facts['tokens_moved']:.1%} of the text), gap {facts['gap']:.3%}, "
            f"{facts['seconds']:.1f} s ({facts['share_of_training_time']:.2%} of training time so far)"
        )
        numbers = {f"reallocation/{name}": value for name, value in facts.items() if isinstance(value, int | float)}
        for logger in trainer.loggers:
            logger.log_metrics({**numbers, "round": summary["round"]}, step=trainer.global_step)


@rank_zero_only
def _tell(message: str) -> None:
    log.info(message)
