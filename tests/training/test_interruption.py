"""Ctrl-C whose exception Python discards ends training after the batch."""

import gc
import signal

import pytest

from lightrnn_pl.training.callbacks.interruption import Interruption


class Interrupted:
    """An object in whose destructor the signal arrives."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def default_handler():
    """The handler of a new process; an earlier training in this one may have left another."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_discarded_interrupt_is_raised_after_the_batch():
    callback = Interruption()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    callback.on_fit_start(None, None)
    callback.on_train_batch_end(None, None)
    Interrupted()
    gc.collect()
    with pytest.raises(KeyboardInterrupt):
        callback.on_train_batch_end(None, None)
    callback.on_exception(None, None, KeyboardInterrupt())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_program_is_kept():
    own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        callback = Interruption()
        callback.on_fit_start(None, None)
        callback.teardown(None, None, "fit")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, own)
