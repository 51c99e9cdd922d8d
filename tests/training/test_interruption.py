"""Ctrl-C ends training after the batch, even if Python discards its exception."""

import gc
import signal
from unittest import mock

import pytest

from lightrnn_pl.training.callbacks.interruption import Interruption
from lightrnn_pl.training.callbacks.resume_point import ResumePoint

pytestmark = pytest.mark.usefixtures("default_interrupt_handler")


class Interrupted:
    """An object in whose destructor the signal arrives."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def trainer():
    """A trainer of one process that neither accumulates gradients nor validates."""
    return mock.Mock(world_size=1, received_sigterm=False, accumulate_grad_batches=1)


@pytest.fixture
def resume_point():
    return mock.Mock(spec=ResumePoint)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_discards_ends_training_after_the_batch(trainer, resume_point):
    callback = Interruption(resume_point)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    callback.on_fit_start(trainer, None)
    callback.on_train_batch_end(trainer, None, None, None, 0)
    Interrupted()
    gc.collect()
    with pytest.raises(KeyboardInterrupt):
        callback.on_train_batch_end(trainer, None, None, None, 1)
    callback.on_exception(trainer, None, KeyboardInterrupt())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_during_a_batch_is_raised_after_the_resume_point_and_a_second_one_at_once(trainer, resume_point):
    callback = Interruption(resume_point)
    callback.on_fit_start(trainer, None)
    callback.on_train_batch_start(trainer, None, None, 0)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    resume_point.write.assert_not_called()
    with pytest.raises(KeyboardInterrupt):
        callback.on_train_batch_end(trainer, None, None, None, 0)
    resume_point.write.assert_called_once_with(trainer, 0)
    callback.teardown(trainer, None, "fit")


@pytest.mark.parametrize("hook", ["on_validation_start", "on_train_epoch_end"])
def test_an_interrupt_between_the_last_batch_and_a_validation_is_raised(hook, trainer, resume_point):
    callback = Interruption(resume_point)
    callback.on_fit_start(trainer, None)
    callback.on_train_batch_start(trainer, None, None, 0)
    callback.on_train_batch_end(trainer, None, None, None, 0)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        getattr(callback, hook)(trainer, None)
    callback.teardown(trainer, None, "fit")


def test_an_interrupt_of_several_processes_is_raised_at_once_without_a_resume_point(trainer, resume_point):
    trainer.world_size = 2
    callback = Interruption(resume_point)
    callback.on_fit_start(trainer, None)
    callback.on_train_batch_start(trainer, None, None, 0)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    resume_point.write.assert_not_called()
    callback.teardown(trainer, None, "fit")


def test_a_handler_of_the_program_is_kept(trainer, resume_point):
    own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        callback = Interruption(resume_point)
        callback.on_fit_start(trainer, None)
        callback.teardown(trainer, None, "fit")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, own)
