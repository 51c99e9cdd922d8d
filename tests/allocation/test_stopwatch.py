"""The time of a solver does not contain that of compiling its kernels."""

import time

import numba
import numpy as np

from lightrnn_pl.allocation.stopwatch import Stopwatch


def test_the_time_of_compiling_is_left_out():
    @numba.njit
    def total(values):
        result = 0.0
        for number, value in enumerate(np.sort(values)):
            result += number * value
        return result

    started = time.perf_counter()
    with Stopwatch() as stopwatch:
        total(np.array([2.0, 1.0]))
        compiling = time.perf_counter() - started
        time.sleep(0.05)
        seconds = stopwatch.seconds
    assert total.signatures and seconds >= 0.05
    assert compiling > 0.1 and seconds < 0.5 * (compiling + 0.05), "most of the time of the first call"
    assert total(np.array([2.0, 1.0])) == 2.0
