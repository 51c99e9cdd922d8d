"""Errors that a user can fix are printed in one line; only unexpected errors show a traceback."""

from __future__ import annotations

import functools
import os
import re
import select
import sys
from collections.abc import Callable
from typing import Any

from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

EXPECTED = (ValueError, OSError, FloatingPointError, OmegaConfBaseException)


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that an expected error prints one line and exits with status 2.

    HYDRA_FULL_ERROR=1 shows the traceback.  In a sweep, errors are raised, so that they are reported with their job.
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
            if isinstance(error, BrokenPipeError) and output_is_closed():
                return None
            in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
            if in_sweep or os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(2)

    return run


def one_line(error: Exception) -> str:
    """The message of an error; unexpected errors are prefixed with the name of their class."""
    if isinstance(error, MissingMandatoryValue):
        return _required(error.full_key)
    if isinstance(error, InterpolationToMissingValueError) and (
        missing := re.search(r"Missing mandatory value: (\S+)", str(error))
    ):
        return _required(missing[1])
    if isinstance(error, OmegaConfBaseException):  # the key and the type of its parent follow in further lines
        return f"{error.full_key}: {str(error).splitlines()[0]}" if error.full_key else str(error).splitlines()[0]
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror  # an error raised by this package: omit the error number
    return str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"


def _required(key: str | None) -> str:
    return f"{key} is required; pass {key}=..."


def output_is_closed() -> bool:
    """Whether the reader of standard output (such as ``head``) has closed it; if so, discard the remaining output."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    if not poll.poll(0):
        return False
    # Otherwise, Python would raise another BrokenPipeError when it flushes standard output at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
