"""The bootstrap: train until validation converges, reallocate the words, and repeat (LightRNN, section 3.2).

A round is the training under one allocation.  When it has converged, the callback restores the round's best weights,
collects the loss statistics, solves for new codes, assigns them, and starts the next round.  A model without a word
table (k = 1) has a single round, and the callback acts as its early stopping.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import pytorch_lightning as pl
from torch import Tensor

from lightrnn_pl.checks import check_choice
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.training.learning_rate_schedule import RoundSchedule
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.plateau import Plateau
from lightrnn_pl.training.progress import epochs_done, learning_rate, next_validation, validation_interval
from lightrnn_pl.training.ranks import gather_from_ranks, select_own_rank
from lightrnn_pl.training.reallocation.convergence import ROUNDING, Convergence
from lightrnn_pl.training.reallocation.gather_statistics import TrainingWindow
from lightrnn_pl.training.reallocation.metrics import log_once, report
from lightrnn_pl.training.reallocation.mover import Mover
from lightrnn_pl.training.reallocation.table_record import TableRecord
from lightrnn_pl.training.tracking.console import print_typical_words


@dataclass
class _Round:
    """The state of the current round."""

    first_epoch: float
    validation: Plateau
    weights: dict[str, Tensor] | None = None
    losses: list[float] = field(default_factory=list)


class Reallocation(pl.Callback):
    """Reallocates words whenever validation has converged, and ends training after the last round.

    Args:
        convergence: Decides when a round has converged and whether it is the last.
        mover: Reallocates the words.
        schedule: The learning-rate schedule, which restarts with each round.
        optimizer_state: ``keep``, or ``rebuild`` to reset the optimizer's state (such as momentum) at a reallocation.
        statistics: Collect the loss statistics in a ``pass`` over the training text, or during ``training``, between
            the last two validations of the round; see :mod:`~lightrnn_pl.training.reallocation.gather_statistics`.
        record: Writes the word table of each round; None to write none.
    """

    def __init__(
        self,
        convergence: Convergence,
        mover: Mover,
        schedule: RoundSchedule,
        optimizer_state: Literal["keep", "rebuild"] = "rebuild",
        statistics: Literal["pass", "training"] = "pass",
        record: TableRecord | None = None,
    ) -> None:
        check_choice("reallocation.optimizer_state", optimizer_state, ("keep", "rebuild"))
        check_choice("reallocation.statistics", statistics, ("pass", "training"))
        self.convergence = convergence
        self.mover = mover
        self.schedule = schedule
        self.optimizer_state = optimizer_state
        self.statistics = statistics
        self.record = record
        self.rounds: list[dict[str, Any]] = []
        self._current = self._new_round(0.0)
        self._window: TrainingWindow | None = None
        self._window_state: dict[str, Any] | None = None  # from a checkpoint, until training starts
        self._epoch = 0.0  # epochs done at the last validation
        self._earlier_seconds = 0.0
        self._started = time.monotonic()

    @property
    def round(self) -> int:
        """The number of the current round, counted from 1."""
        return len(self.rounds) + 1

    @property
    def seconds(self) -> float:
        """Training time so far, in seconds, including that before the run was resumed."""
        return self._earlier_seconds + time.monotonic() - self._started

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; limit a model without a word table to one round."""
        self._started = time.monotonic()
        assert isinstance(pl_module, LanguageModelingModule)
        if pl_module.model.allocation.num_components == 1 and self.convergence.max_rounds > 1:
            log_once("This model has no word table (k = 1): training ends when validation first converges.")
            self.convergence.max_rounds = 1
        if self.convergence.max_rounds > 1:
            self.mover.check(pl_module.model, self.statistics)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Resume the collection of statistics that a checkpoint contains, and record the allocation."""
        assert isinstance(pl_module, LanguageModelingModule)
        if self._window_state is not None:
            self._start_window(pl_module).load_state_dict(self._window_state)
            self._window_state = None
        allocation = pl_module.model.allocation
        if self.record is not None and allocation.num_components > 1 and trainer.is_global_zero:
            self.record.save_start(self.round, allocation)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        """If the next validation may end the round, collect statistics until then, if so configured."""
        assert isinstance(pl_module, LanguageModelingModule)
        if self.statistics != "training" or self._window is not None or self.round >= self.convergence.max_rounds:
            return
        epochs = next_validation(trainer, index) - self._current.first_epoch
        if self.convergence.may_end_after(self.round, epochs, self._current.validation.stalls):
            self._start_window(pl_module)

    def _start_window(self, module: LanguageModelingModule) -> TrainingWindow:
        self._window = TrainingWindow(module.model, self.mover.storage)
        module.observer = self._window.add
        return self._window

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the validation to the round; if the round has converged, reallocate or end training.

        Raises:
            FloatingPointError: If training has diverged.
        """
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, LanguageModelingModule)
        nll = float(trainer.callback_metrics["valid/nll"])
        if not math.isfinite(perplexity(nll)):
            raise FloatingPointError(
                f"validation loss is {nll} in epoch {trainer.current_epoch}: training has diverged; lower "
                "optimizer.lr, or set a smaller trainer.gradient_clip_val"
            )
        self.record_validation(trainer, nll, pl_module.model)
        window, self._window, pl_module.observer = self._window, None, None
        epochs = self._epoch - self._current.first_epoch
        reason = self.convergence.reason(self.round, epochs, self._current.validation, learning_rate(trainer))
        if reason is None:
            return
        # max_hours depends on the clock of each rank, so the first rank decides for all.
        is_last = self.round >= self.convergence.max_rounds or self._is_cut_off(trainer)
        if is_last or trainer.strategy.broadcast(self._is_last_round()):
            trainer.should_stop = True
            log_once(f"Round {self.round} ends ({reason}); training is done.")
        else:
            log_once(f"Round {self.round} ends ({reason}); {self.mover.solver.action}.")
            self._reallocate(trainer, pl_module, window)

    def finish(self) -> None:
        """Complete the last round; called after training."""
        if self._current.losses:
            self.rounds.append(self._round_summary())
            self._current = self._new_round(self._epoch)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, with the round's best weights and the statistics collected by every rank."""
        current = {**vars(self._current), "validation": self._current.validation.state_dict()}
        windows = gather_from_ranks(None if self._window is None else self._window.state_dict())
        return {
            "rounds": self.rounds,
            "now": current,
            "windows": windows,
            "epoch": self._epoch,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self.rounds = state_dict["rounds"]
        self._current = _Round(**{**state_dict["now"], "validation": Plateau(self.convergence.min_gain)})
        self._current.validation.load_state_dict(state_dict["now"]["validation"])
        self._window_state = select_own_rank(state_dict["windows"])
        self._epoch = state_dict["epoch"]
        self._earlier_seconds = state_dict["seconds"]

    def record_validation(self, trainer: pl.Trainer, nll: float, model: LanguageModel) -> None:
        """Add a validation loss, in nats per word, and keep the weights if it is the round's best."""
        self._epoch = epochs_done(trainer)
        self._current.losses.append(nll)
        is_best = self._current.validation.update(nll)
        if is_best and self.round < self.convergence.max_rounds:  # the last round's best weights are in the bundle
            self._current.weights = {name: part.detach().cpu().clone() for name, part in model.state_dict().items()}

    def _is_cut_off(self, trainer: pl.Trainer) -> bool:
        # Without another validation, the effect of a reallocation would never be evaluated.
        next_validation = self._epoch + validation_interval(trainer)
        steps = validation_interval(trainer) * trainer.num_training_batches / trainer.accumulate_grad_batches
        max_epochs, max_steps = trainer.max_epochs or -1, trainer.max_steps
        return 0 <= max_epochs < next_validation - ROUNDING or 0 <= max_steps < trainer.global_step + int(steps)

    def _is_last_round(self) -> bool:
        earlier = [summary["valid_nll"] for summary in self.rounds]
        return self.convergence.is_last(self._current.validation.best, earlier, self.seconds)

    def _new_round(self, epoch: float) -> _Round:
        return _Round(epoch, Plateau(self.convergence.min_gain))

    def _round_summary(self) -> dict[str, Any]:
        return {
            "round": self.round,
            "epochs": round(self._epoch - self._current.first_epoch, 3),
            "valid_nll": self._current.validation.best,
            "valid_perplexity": perplexity(self._current.validation.best),
            "validations": [perplexity(nll) for nll in self._current.losses],
        }

    def _reallocate(self, trainer: pl.Trainer, module: LanguageModelingModule, window: TrainingWindow | None) -> None:
        assert self._current.weights is not None
        module.model.load_state_dict(self._current.weights)
        collected = None if window is None else window.scaled_to(int(trainer.num_training_batches))
        move = self.mover.move(trainer, module, collected)
        metrics = move.metrics
        metrics["statistics"] = "pass" if window is None else "training"
        for key in ("seconds_statistics", "seconds"):
            metrics[key] += 0.0 if window is None else window.seconds
        metrics["share_of_training_time"] = metrics["seconds"] / self.seconds
        summary = {**self._round_summary(), "reallocation": metrics}
        report(trainer, summary)
        if self.record is not None and trainer.is_global_zero:
            self.record.save_reallocation(self.round, move, module.model.allocation)
            metrics["typical"] = self.record.typical_words(module.model.allocation)
            print_typical_words(metrics["typical"])
        self.rounds.append(summary)

        self.schedule.start_round(trainer)
        if self.optimizer_state == "rebuild":
            for optimizer in trainer.optimizers:
                optimizer.state.clear()
        module.reset_state()
        self._current = self._new_round(self._epoch)
