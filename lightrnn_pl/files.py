"""Atomic writing of files, and clear errors for files that cannot be written."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of full disks.  EFBIG: the file exceeds the limit of the process or of the file system."""
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)
"""Errors of folders in which no file can be created.  EEXIST: a file has the folder's name."""
_MAX_EXPANSION = 100
"""A compressed file may expand to this multiple of its size.  Lists of words: at most 20 times."""


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file next to ``path`` and rename it to ``path`` if the block ends without an error.

    The file is flushed to disk before it is renamed, so a crash leaves either the old file or the new one.  Temporary
    files of processes that were killed while they wrote the same file are deleted.

    Raises:
        OSError: If the device has no space left or the folder is not writable.  The message contains the path and a
            remedy.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path), suffix=".part")
    except OSError as error:
        raise explain_unwritable(error, path) from error
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise explain_unwritable(error, path) from error
    except RuntimeError as error:  # torch.save hides the error of the file
        if isinstance(error.__context__, OSError):
            raise explain_unwritable(error.__context__, path) from error
        raise
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_text(path: str | Path) -> str:
    """The content of a UTF-8 file, which is decompressed if its name ends with ``.gz``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not UTF-8, or its compressed content is damaged or implausibly large.
    """
    path = Path(path)
    if path.suffix != ".gz":
        return path.read_bytes().decode("utf-8")
    limit = _MAX_EXPANSION * path.stat().st_size
    try:
        with gzip.open(path) as file:
            content = file.read(limit + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"its compressed content is damaged: {error}") from error
    if len(content) > limit:
        raise ValueError(f"its content is more than {_MAX_EXPANSION} times as large as the file")
    return content.decode("utf-8")


@contextmanager
def temporary_folder(path: str | Path) -> Iterator[Path]:
    """A new folder next to ``path``, to be renamed to ``path`` once it is complete; deleted at the end of the block.

    Its parent is a temporary folder of its own, which can take an earlier version of ``path``.  Temporary folders of
    processes that were killed while they wrote the same folder are deleted.

    Raises:
        OSError: If the device has no space left or the folder is not writable.  The message contains the path and a
            remedy.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=temporary_prefix(path), suffix=".part", ignore_cleanup_errors=True
        ) as temporary:
            # Only the owner can access the folder that tempfile creates, so the new folder is inside.
            new = Path(temporary) / "new"
            new.mkdir()
            yield new
    except OSError as error:
        raise explain_unwritable(error, path) from error


def remove_partial_files(folder: Path) -> None:
    """Delete the temporary files of ``atomic_write`` that killed processes left in ``folder``."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def temporary_prefix(path: Path) -> str:
    """The prefix of the names of temporary files for ``path``, which end in ``.part``.

    It contains the machine and the process.  Temporary files of processes of this machine that have ended are deleted.
    """
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{machine}-(\d+)-.*\.part")
    for leftover in path.parent.iterdir():
        if (match := pattern.fullmatch(leftover.name)) is not None and not _is_running(int(match[1])):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
    return f".{path.name}.{machine}-{os.getpid()}-"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")


def explain_unwritable(error: OSError, path: str | Path) -> OSError:
    """``error`` with the path and a remedy in its message if it means that ``path`` cannot be written, or unchanged."""
    remedy = "choose another folder (paths.cache_dir for token caches, hydra.run.dir for runs)"
    if error.errno in _FULL:
        return OSError(error.errno, f"no space left while writing {path}; free some space or {remedy}")
    if error.errno in _UNWRITABLE:
        return OSError(error.errno, f"cannot write {path}: {os.strerror(error.errno)}; {remedy}")
    return error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def file_hash(path: str | Path) -> str:
    """SHA-256 of the content of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
