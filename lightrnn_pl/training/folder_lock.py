"""A lock that admits one training process at a time to a run folder.

Worker processes of a killed sweep may continue to train.  If the sweep is started again, it must not write into their
folders.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lightrnn_pl.files import explain_unwritable
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.ranks import is_first_rank

log = logging.getLogger(__name__)


@contextlib.contextmanager
def exclusive_lock(folder: str | Path) -> Iterator[None]:
    """Wait until no other process trains in ``folder``.

    The operating system releases the lock when the process ends for any reason.

    Raises:
        OSError: If the folder is not writable; the message contains the path and the remedy.
    """
    if not is_first_rank():  # the ranks of a run share its folder
        yield
        return
    path = RunFolder(folder).lock
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.warning("another process is training in %s; waiting for it to finish", folder)
            lock.acquire()
    except OSError as error:
        raise explain_unwritable(error, path) from error
    try:
        yield
    finally:
        lock.release()
