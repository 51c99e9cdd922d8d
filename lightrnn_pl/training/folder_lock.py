"""One training at a time in a run folder.

A killed sweep may leave processes behind that train on; who starts it again must not write into their folders.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lightrnn_pl.files import explain_unwritable
from lightrnn_pl.training.ranks import is_first_rank

log = logging.getLogger(__name__)


@contextlib.contextmanager
def exclusive_lock(folder: str | Path) -> Iterator[None]:
    """Wait until no other process trains in ``folder``; the system frees it when a process ends, however it ends.

    Raises:
        OSError: With the path and the remedy, if the folder takes no files.
    """
    if not is_first_rank():  # the processes of one training share its folder
        yield
        return
    path = Path(folder) / ".lock"
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.warning("another process trains in %s; waiting until it ends", folder)
            lock.acquire()
    except OSError as error:
        raise explain_unwritable(error, path) from error
    try:
        yield
    finally:
        lock.release()
