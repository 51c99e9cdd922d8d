"""Fixtures of the tests of training."""

import signal

import pytest


@pytest.fixture
def default_interrupt_handler():
    """The handler of SIGINT in a new process.  After an interrupted training, Lightning ignores the signal."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)
