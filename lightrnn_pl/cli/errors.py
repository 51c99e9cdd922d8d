"""Errors that a user can fix are printed in one line; only unexpected errors show a traceback."""

from __future__ import annotations

import functools
import os
import select
import sys
from collections.abc import Callable
from typing import Any

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

EXPECTED = (ValueError, OSError, FloatingPointError, OmegaConfBaseException)


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that an expected error ends it with its message; HYDRA_FULL_ERROR=1 shows the traceback.

    In a sweep the error goes on to Hydra, which reports it with the job it belongs to.
    """

    @functools.wraps(command)
    def run(config: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        try:
            return command(config)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except EXPECTED as error:
            if isinstance(error, BrokenPipeError) and _reader_left():
                return None
            swept = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
            if swept or os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(2)

    return run


def one_line(error: Exception) -> str:
    """What to tell of an error: its message, and its kind too where no user could have expected it."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing; give {error.full_key}=..."
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror  # without its number, where the message is our own
    return str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"


def _reader_left() -> bool:
    """Whether whoever read standard output has seen enough, as ``head`` does; what is left to write goes nowhere."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    if not poll.poll(0):
        return False
    # Python would complain once more when it closes its output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
