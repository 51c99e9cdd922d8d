"""Reading and writing lines of text one by one, packed or not, so that a text may be larger than memory.

Lines end at a newline and nowhere else.  Knows nothing of what stands in them.
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
"""Names standard input or output in a file's place."""


def byte_lines(path: str | Path) -> Iterator[bytes]:
    """The lines of a file, plain or ``.gz``, or of standard input for ``-``, without what ends them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a packed file is damaged, or standard input is closed.
    """
    with ExitStack() as stack:
        source: Any
        if str(path) == STANDARD:
            if sys.stdin is None:
                raise ValueError("standard input is closed, and nothing else was given to read; name a file")
            source = sys.stdin.buffer
        elif not Path(path).is_file():
            raise FileNotFoundError(f"there is no text file at {path} (working folder: {Path.cwd()})")
        else:
            source = stack.enter_context(Path(path).open("rb"))
            if _is_packed(path):
                source = stack.enter_context(gzip.GzipFile(fileobj=source))
        try:
            for line in source:
                yield line.rstrip(b"\r\n")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"the packed file {path} is damaged or cut off ({error})") from error


def require_file(key: str, path: str | Path) -> None:
    """Refuse a path that is no file, by the name under which it was given.

    Raises:
        FileNotFoundError: Naming the key.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{key}={path} is no file (working folder: {Path.cwd()}); give the path of a text file")


def by_hand() -> bool:
    """Whether a person types standard input, and waits for an answer to each line."""
    return sys.stdin is not None and sys.stdin.isatty()


def text_lines(path: str | Path) -> Iterator[str]:
    """The same, decoded.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a packed file is damaged, or naming the first line that is not UTF-8.
    """
    for number, line in enumerate(byte_lines(path), start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            name = "standard input" if str(path) == STANDARD else path
            raise ValueError(f"{name}, line {number}: not UTF-8 ({error.reason}); convert the text") from None


@contextmanager
def write_lines(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write to that stands at ``path`` once the block has ended without an error; ``.gz`` packs it."""
    with atomic_write(path) as file:
        if not _is_packed(path):
            yield file
            return
        # Neither a time nor the temporary name, so that the same content makes the same bytes.
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0, compresslevel=6) as packed:
            yield cast(IO[bytes], packed)


def _is_packed(path: str | Path) -> bool:
    return Path(path).suffix == ".gz"
