"""A file on an HTTP server as a Python file object that survives interruptions of the connection.

``fsspec`` and ``datasets`` also open an address as a file.  However, they do not resume a response that ends too early,
report a server that is temporarily unavailable as a missing file, and do not notice when the file changes meanwhile.
"""

from __future__ import annotations

import io
import logging
import re
import time
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3.util import Retry

log = logging.getLogger(__name__)

RETRIES = 5
BACKOFF = 0.5  # seconds before the second retry; doubled for each further one
TIMEOUT = 30.0  # seconds without any data
_MAX_RETRY_AFTER = 120.0  # seconds that a server may ask to wait
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class RemoteError(Exception):
    """A file on a server cannot be read.  The message contains the reason and a remedy, but not the address."""


class Unreachable(RemoteError):
    """The server does not respond, or responds that it is temporarily unavailable."""


class NotResumable(RemoteError):
    """The connection was lost, and the server cannot send the rest of the file.  Read it again from the start."""


class RemoteFile(io.RawIOBase):
    """A file on an HTTP server, read in order with a single request, or at any position if the server supports ranges.

    A lost connection, a time-out, an incomplete response and the statuses 429 and 5xx are retried with increasing
    delays, at most ``RETRIES`` times without receiving any data.

    Args:
        url: Address of the file.

    Attributes:
        size: Size in bytes; None if the server does not report it.
        version: The ETag or, without an ETag, the modification time that the server reports; None without either.
        has_ranges: Whether the server can send a part of the file, so that reading can start at any position.

    Raises:
        Unreachable: If the server cannot be reached.
        RemoteError: If the file does not exist or cannot be read for another reason.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self._position = 0
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=_retry()))
        self._response: requests.Response | None = self._request()
        self.has_ranges = self._response.status_code == requests.codes.partial_content
        self.size, self.version = _size(self._response), _version(self._response)

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return self.has_ranges

    @override
    def tell(self) -> int:
        return self._position

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self.size is None:
            raise io.UnsupportedOperation("the size of the file is unknown")
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size or 0}[whence]
        if start + offset != self._position:
            if not self.has_ranges:
                raise io.UnsupportedOperation("the server does not support ranges")
            self._disconnect()
            self._position = start + offset
        return self._position

    @override
    def readinto(self, buffer: Any) -> int:
        failures = 0
        while self.size is None or self._position < self.size:
            try:
                if self._response is None:
                    self._response = self._reopen()
                # requests does not translate the exceptions of urllib3 here.
                count = int(self._response.raw.readinto(buffer))
                if count or self.size is None:
                    self._position += count
                    return count
                reason = "the response is incomplete"
            except (urllib3.exceptions.HTTPError, OSError) as error:
                reason = str(error.args[0] if error.args else error)
            self._disconnect()
            if not self.has_ranges:
                raise NotResumable(f"the connection was lost after {self._position} bytes ({reason})")
            failures += 1
            if failures > RETRIES:
                raise Unreachable(f"the connection was lost after {self._position} bytes ({reason}); try again later")
            log.warning("%s: connection lost after %d bytes (%s); resuming", self.url, self._position, reason)
            time.sleep(BACKOFF * 2 ** (failures - 1))
        return 0

    @override
    def close(self) -> None:
        if not self.closed:
            self._disconnect()
            self._session.close()
        super().close()

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response = None

    def _reopen(self) -> requests.Response:
        """The rest of the file from the current position."""
        response = self._request()
        if (_size(response), _version(response)) != (self.size, self.version):
            response.close()
            raise RemoteError("the file changed on the server while it was read; run the command again")
        if _start(response) != self._position:
            response.close()
            raise RemoteError(f"the server does not send the file from byte {self._position} as requested; try again")
        return response

    def _request(self) -> requests.Response:
        try:
            # identity: positions refer to the bytes of the file, not to a compressed form of it.
            headers = {"Range": f"bytes={self._position}-", "Accept-Encoding": "identity"}
            response = self._session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise Unreachable(
                f"the server cannot be reached ({_cause(error)}); check the network connection"
            ) from error
        except requests.RequestException as error:
            raise RemoteError(f"the address cannot be opened ({error}); check it") from error
        status = f"{response.status_code} {response.reason}"
        if response.status_code in _RETRIED_STATUSES:
            response.close()
            raise Unreachable(f"the server responds {status} after {RETRIES} retries; try again later")
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            response.close()
            raise RemoteError("the file is empty or shorter than reported; check the address")
        if not response.ok:
            response.close()
            raise RemoteError(f"the server responds {status}; check the address")
        return response


_RETRIED_STATUSES = (429, 500, 502, 503, 504)


class _Retry(Retry):
    """Retries as defined by urllib3, but never waits longer than ``_MAX_RETRY_AFTER``."""

    @override
    def get_retry_after(self, response: Any) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, _MAX_RETRY_AFTER)


def _retry() -> Retry:
    # Two retries are enough to find out that a server or the network is down.
    return _Retry(
        total=RETRIES,
        connect=2,
        status_forcelist=_RETRIED_STATUSES,
        backoff_factor=BACKOFF,
        raise_on_status=False,
    )


def _size(response: requests.Response) -> int | None:
    """The size of the whole file."""
    if match := _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "")):
        return int(match[2])
    length = response.headers.get("Content-Length")
    return int(length) if length is not None and response.status_code == requests.codes.ok else None


def _start(response: requests.Response) -> int:
    """The position in the file of the first byte of the response."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else 0


def _version(response: requests.Response) -> str | None:
    return response.headers.get("ETag") or response.headers.get("Last-Modified")


def _cause(error: BaseException) -> str:
    """The reason of a connection error, without the address and the counters of the retries."""
    reason = getattr(error.args[0] if error.args else None, "reason", None) or error
    return str(reason).rpartition(": ")[2] or type(error).__name__
