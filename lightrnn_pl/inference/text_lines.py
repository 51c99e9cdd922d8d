"""Streaming input and output of text lines, optionally compressed with gzip.

Lines end only at a newline, not at other Unicode line separators.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from lightrnn_pl.files import atomic_write

STANDARD = "-"
"""The path that means standard input or standard output."""


def byte_lines(path: str | Path) -> Iterator[bytes]:
    """The lines of a file (plain or ``.gz``), or of standard input for ``-``, without line ends.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a compressed file is damaged, or standard input is closed.
    """
    with ExitStack() as stack:
        source: Any
        if str(path) == STANDARD:
            if sys.stdin is None:
                raise ValueError("standard input is closed and no file was given; pass the path of a file")
            if is_interactive():
                print("reading standard input; end with Ctrl-D", file=sys.stderr, flush=True)
            source = sys.stdin.buffer
        elif not Path(path).is_file():
            raise FileNotFoundError(f"the text file {path} does not exist (current working directory: {Path.cwd()})")
        else:
            source = stack.enter_context(Path(path).open("rb"))
            if _is_compressed(path):
                source = stack.enter_context(gzip.GzipFile(fileobj=source))
        try:
            for line in source:
                yield line.rstrip(b"\r\n")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"the compressed file {path} is damaged or truncated ({error})") from error


def require_file(key: str, path: str | Path) -> None:
    """Check that the file given by the argument ``key`` exists.

    Raises:
        FileNotFoundError: Naming the key and the path.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{key}={path} is not a file (current working directory: {Path.cwd()}); pass the path of a text file"
        )


def is_interactive() -> bool:
    """Whether standard input is a terminal, so that every line should be answered immediately."""
    return sys.stdin is not None and sys.stdin.isatty()


def text_lines(path: str | Path) -> Iterator[str]:
    """The lines of a file or of standard input, decoded as UTF-8; see :func:`byte_lines`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a compressed file is damaged, or a line is not UTF-8.  The message contains its number.
    """
    for number, line in enumerate(byte_lines(path), start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            name = "standard input" if str(path) == STANDARD else path
            raise ValueError(f"{name}, line {number}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None


@contextmanager
def write_lines(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file that appears at ``path`` if the block ends without an error, compressed if it ends in ``.gz``."""
    with atomic_write(path) as file:
        if not _is_compressed(path):
            yield file
            return
        # Neither a timestamp nor the temporary name is stored, so equal content produces equal bytes.
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0, compresslevel=6) as compressed:
            yield cast(IO[bytes], compressed)


def _is_compressed(path: str | Path) -> bool:
    return Path(path).suffix == ".gz"
