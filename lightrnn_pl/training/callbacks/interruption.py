"""Signals that end a run, Ctrl-C and SIGTERM: during training with a resume point, otherwise at once."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightrnn_pl.training.callbacks.resume_point import ResumePoint
from lightrnn_pl.training.progress import is_accumulating

log = logging.getLogger(__name__)


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Raise SystemExit on SIGTERM, as Lightning does during training; ignored if the program handles the signal."""
    is_default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def exit_status_of_signals() -> Iterator[None]:
    """Exit with 128 plus the number of the signal that ended training, as the shell does.

    Lightning exits with 1 after Ctrl-C, like after an error, and with 0 after SIGTERM, like after a complete run.
    """
    try:
        yield
    except SIGTERMException as error:
        raise SystemExit(128 + signal.SIGTERM) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise SystemExit(128 + signal.SIGINT) from error
        raise


class Interruption(pl.Callback):
    """Ends training after Ctrl-C or SIGTERM with a resume point, so that no training is lost.

    The first Ctrl-C during training takes effect after the batch, or after the last one whose gradients are
    accumulated; a second one at once, like one outside training.  No resume point is written if a validation or the
    end of the epoch follows, or by several processes, because the signal may reach them in different batches.

    Python discards exceptions in destructors and in callbacks of weak references; the signal takes effect nevertheless.

    Args:
        resume_point: Writes the resume point.
    """

    def __init__(self, resume_point: ResumePoint) -> None:
        self.resume_point = resume_point
        self._is_training = False
        self._is_requested = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Handle the signal of Ctrl-C from now on, unless the program handles it itself."""
        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_default and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """From now on, a signal takes effect after a batch."""
        self._is_training = trainer.world_size == 1

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """After a signal, write the resume point and end training.  After SIGTERM, Lightning ends it.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
        """
        batch_idx = args[2]
        is_ending = self._is_requested or trainer.received_sigterm
        if not is_ending or (self._is_training and is_accumulating(trainer, batch_idx)):
            return
        if self._is_training:
            self.resume_point.write(trainer, batch_idx)
        self._raise_if_requested()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on, a signal takes effect at once.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
        """
        self._is_training = False
        self._raise_if_requested()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From now on, a signal takes effect at once.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
        """
        self.on_validation_start(trainer, pl_module)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the handler of the signal."""
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the handler of the signal, unless Lightning has replaced it."""
        self.teardown(trainer, pl_module, "fit")

    def _raise_if_requested(self) -> None:
        if self._is_requested:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        takes_effect_later = self._is_training and not self._is_requested
        self._is_requested = True
        if takes_effect_later:
            log.info("interrupted; writing a resume point after this batch (press Ctrl-C again to end at once)")
        else:
            signal.default_int_handler(number, frame)
