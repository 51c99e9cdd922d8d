"""Functions that run in forked processes, which have everything imported and can be killed."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence

SECONDS = 120
"""Maximum time of a process, less than that of a test, so that the stacks of one that hangs are printed."""


class ForkedProcess:
    """A function in a process of its own.

    A process that does not end in time is killed, and the stacks of its threads become part of its output.

    Args:
        run: The function; its process ends with status 0, with that of a ``SystemExit``, or with 1 after an exception.
        limit: Maximum size of a file in bytes, which simulates a full disk; None for no limit.

    Attributes:
        process_id: The id of the process.
        status: The exit status, negative for a signal; None until the process has ended.
        is_hung: Whether the process was killed because it did not end in time.
    """

    def __init__(self, run: Callable[[], object], limit: int | None = None) -> None:
        self._printed = b""
        self.status: int | None = None
        self.is_hung = False
        # A signal during the fork would interrupt the hooks that reset the locks of libraries in the new process, which
        # could hang later, or leave this function and run the code of the parent.
        self._output, output = os.pipe()  # a file would be subject to the limit
        os.set_blocking(self._output, False)
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.process_id = os.fork()
            if self.process_id == 0:
                _run_and_exit(run, output, limit)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        os.close(output)

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        if self.status is None:
            process_id, status = os.waitpid(self.process_id, os.WNOHANG)
            with contextlib.suppress(BlockingIOError):
                while content := os.read(self._output, 2**16):
                    self._printed += content
            if process_id:
                self.status = os.waitstatus_to_exitcode(status)
                os.close(self._output)
        return self.status is not None

    def ends_within(self, seconds: float) -> bool:
        """Wait for the process for at most ``seconds``; whether it has ended."""
        deadline = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def kill_after(self, seconds: float, kind: signal.Signals) -> bool:
        """Send a signal after ``seconds``; False if the process had already ended."""
        if self.ends_within(seconds):
            return False
        os.kill(self.process_id, kind)
        return True

    def wait(self, seconds: float = SECONDS) -> str:
        """Wait until the process has ended, and return what it printed."""
        if not self.ends_within(seconds):
            self.is_hung = True
            os.kill(self.process_id, signal.SIGABRT)  # faulthandler prints the stacks
            self.ends_within(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process_id, signal.SIGKILL)
            self.ends_within(SECONDS)
        text = self._printed.decode(errors="replace")
        return f"hung for {seconds:g} s\n{text}" if self.is_hung else text


def wait_for_all(processes: Sequence[ForkedProcess], seconds: float = SECONDS) -> None:
    """Wait for at most ``seconds`` until all processes have ended, and read the output of all of them meanwhile."""
    deadline = time.monotonic() + seconds
    while sum(process.has_ended() for process in processes) < len(processes) and time.monotonic() < deadline:
        time.sleep(0.005)


def _run_and_exit(run: Callable[[], object], output: int, limit: int | None) -> None:
    status = 1
    try:
        try:
            os.setpgid(0, 0)
            for target in (1, 2):
                os.dup2(output, target)
            sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - used until the end
            faulthandler.disable()  # otherwise, it would not replace handlers that libraries have installed since
            faulthandler.enable(file=2)
            for kind in (signal.SIGTERM, signal.SIGUSR1):
                signal.signal(kind, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
            run()
            status = 0
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            os.write(2, f"{type(error).__name__}: {error}\n".encode()[:4000])
            os.write(2, traceback.format_exc()[-4000:].encode())
    finally:
        os._exit(status)
