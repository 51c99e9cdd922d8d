"""Signals that end a run: Ctrl-C even if Python discards its exception, and SIGTERM outside training."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytorch_lightning as pl


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


class Interruption(pl.Callback):
    """Raises the exception of Ctrl-C again after the batch in which it was lost.

    Python discards exceptions in destructors and in callbacks of weak references, so that training would continue.
    """

    def __init__(self) -> None:
        self._is_requested = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the signal from now on, unless the program handles it itself."""
        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_default and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Raise the exception if there was a signal and training continues nevertheless.

        Raises:
            KeyboardInterrupt: As Ctrl-C does.
        """
        if self._is_requested:
            raise KeyboardInterrupt

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the handler of the signal."""
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the handler of the signal, unless Lightning has replaced it."""
        self.teardown(trainer, pl_module, "fit")

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._is_requested = True
        signal.default_int_handler(number, frame)
