"""The file of an archive: on disk, downloaded into the cache, or read from its server while it is needed."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lightrnn_pl.data import remote_file
from lightrnn_pl.data.corpus import content_hash
from lightrnn_pl.data.remote_file import NotResumable, RemoteError, RemoteFile, Unreachable
from lightrnn_pl.files import explain_unwritable, write_json

log = logging.getLogger(__name__)

_BUFFER = 1 << 20


class ArchiveFile:
    """The file of an archive.

    Args:
        location: A path, or an address that begins with ``http://`` or ``https://``.
        cache_dir: Folder of downloads and of the versions of remote files.
        streaming: If True and the server supports ranges, a remote file is read over the network.  Otherwise, it is
            downloaded first.

    Raises:
        ValueError: If the location is an address of another kind.
    """

    def __init__(self, location: str, cache_dir: str | Path, streaming: bool = True) -> None:
        scheme = location.partition("://")[0] if "://" in location else None
        if scheme not in (None, "http", "https"):
            raise ValueError(f"data.archive={location} must be a path or an address with http:// or https://")
        self.location, self.is_remote = location, scheme is not None
        self._folder, self._streaming = Path(cache_dir), streaming
        self._version: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of the file without its folder, as letters, digits, dots and dashes."""
        path = urlsplit(self.location).path if self.is_remote else self.location
        return re.sub(r"[^\w.-]+", "-", Path(path).name) or "archive"

    def version(self) -> dict[str, Any]:
        """What identifies the content: the address, size and ETag of a remote file, or the path, size and time.

        If the server is unreachable, this is the last known version, so that existing caches can be used.

        Raises:
            FileNotFoundError: If the file does not exist.
            RemoteError: If the remote file does not exist or cannot be reached, and no version is known.
        """
        if not self.is_remote:
            path = Path(self.location)
            if not path.is_file():
                kind = "is a folder, not a file" if path.is_dir() else "does not exist"
                raise FileNotFoundError(
                    f"data.archive={path} {kind} (current working directory: {Path.cwd()}); pass the path or address "
                    "of an archive"
                )
            return {"path": str(path.resolve()), "size": path.stat().st_size, "time": path.stat().st_mtime_ns}
        if self._version is None:
            self._version = self._remote_version()
        return self._version

    def open(self) -> BinaryIO:
        """The file, opened for reading at any position.

        Raises:
            FileNotFoundError: If the file does not exist.
            RemoteError: If the remote file cannot be read.
            OSError: If a download cannot be stored.
        """
        version = self.version()
        if not self.is_remote:
            return Path(self.location).open("rb")
        if self._streaming and not self.download_path().exists():
            remote = RemoteFile(self.location)
            if {"url": self.location, "size": remote.size, "version": remote.version} != version:
                raise RemoteError("the file changed on the server since the command started; run the command again")
            if remote.has_ranges:
                return cast(BinaryIO, io.BufferedReader(remote, _BUFFER))
            remote.close()
            log.info("%s: the server does not support ranges, so the archive is downloaded", self.location)
        return self._download().open("rb")

    def download_path(self) -> Path:
        """Where the current version of a remote file is stored if it is downloaded."""
        return self._folder / f"{content_hash(self.version())[:16]}-{self.name}"

    def _remote_version(self) -> dict[str, Any]:
        record = self._folder / f"{content_hash(self.location)[:16]}-{self.name}.json"
        try:
            with RemoteFile(self.location) as remote:
                version = {"url": self.location, "size": remote.size, "version": remote.version}
        except Unreachable as error:
            try:
                version = json.loads(record.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                raise error from None
            log.warning("%s: %s; assuming that the file has not changed", self.location, error)
            return version
        write_json(record, version)
        return version

    def _download(self) -> Path:
        """Download the file, unless it has been downloaded.  An interrupted download is resumed."""
        path = self.download_path()
        partial = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                for attempt in range(remote_file.RETRIES + 1):
                    if path.exists():
                        break
                    try:
                        self._copy(partial)
                        partial.replace(path)
                    except NotResumable as error:
                        partial.unlink(missing_ok=True)
                        if attempt == remote_file.RETRIES:
                            raise Unreachable(f"{error}; try again later") from error
                        log.warning("%s: %s; starting over", self.location, error)
                        time.sleep(remote_file.BACKOFF * 2**attempt)
        except OSError as error:
            raise explain_unwritable(error, path) from error
        return path

    def _copy(self, partial: Path) -> None:
        """Append the rest of the remote file to ``partial``, or all of it if the server does not support ranges."""
        with RemoteFile(self.location) as remote, partial.open("ab") as file, _progress() as progress:
            if not remote.has_ranges or file.tell() > (remote.size or 0):
                file.seek(0)
                file.truncate()
            remote.seek(file.tell())
            task = progress.add_task(f"downloading {self.name}", total=remote.size, completed=file.tell())
            while data := remote.read(_BUFFER):
                file.write(data)
                progress.advance(task, len(data))
            file.flush()
            os.fsync(file.fileno())


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
