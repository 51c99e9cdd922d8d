"""Wall-clock time without that of compiling kernels, which only the first run of an installation needs."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType

from numba.core.event import TimingListener, install_listener


class Stopwatch:
    """A context manager that measures the time since it was entered, without the time that Numba's compiler takes.

    Compiling the kernels of a solver can take longer than solving the problem, and later runs read them from a cache.
    """

    def __enter__(self) -> Stopwatch:
        self._compiler = TimingListener()
        self._listening = ExitStack()
        # The compiler holds this lock while it compiles, and while it reads compiled kernels from the cache.
        self._listening.enter_context(install_listener("numba:compiler_lock", self._compiler))
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listening.close()

    @property
    def seconds(self) -> float:
        """The time so far."""
        compiling = self._compiler.duration if self._compiler.done else 0.0
        return time.perf_counter() - self._started - compiling
