"""An HTTP server on the loopback interface, with the faults that servers have."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """What goes wrong with one response.

    Attributes:
        status: Status to respond instead of the file.
        headers: Headers of that response.
        cut: Close the connection after this many bytes of the body.
        stall: Wait this many seconds before the body.
        version: Respond with this version from now on.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: float = 0.0
    version: str | None = None


@dataclass
class FileServer:
    """Files by path, and the settings of the server.

    Attributes:
        url: Address of the server.
        files: Contents by path.
        ranges: Whether parts of files can be requested.
        sized: Whether the size of files is reported.
        faults: Faults of the next responses.
        always: Fault of all further responses.
        delay: Seconds between pieces of 1,000 bytes.
        requests: First requested byte of every request so far.
        sent: Number of bytes sent so far.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    sized: bool = True
    version: str = "v1"
    faults: list[Fault] = field(default_factory=list)
    always: Fault = field(default_factory=Fault)
    delay: float = 0.0
    requests: list[int] = field(default_factory=list)
    sent: int = 0


@contextlib.contextmanager
def serve(**settings) -> Iterator[FileServer]:
    state = FileServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            fault = state.faults.pop(0) if state.faults else state.always
            state.version = fault.version or state.version
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(match[1]) if match and state.ranges else 0
            state.requests.append(int(match[1]) if match else 0)
            body = state.files.get(self.path.partition("?")[0])
            if fault.status is not None or body is None:
                self.send_response(fault.status or 404)
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if match and state.ranges and start >= len(body):
                self.send_error(416)
                return
            end = min(int(match[2]) + 1, len(body)) if match and match[2] and state.ranges else len(body)
            self.send_response(206 if match and state.ranges else 200)
            if match and state.ranges:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
            if state.sized:
                self.send_header("Content-Length", str(end - start))
            self.send_header("ETag", f'"{state.version}"')
            self.end_headers()
            time.sleep(fault.stall)
            rest = body[start : end if fault.cut is None else start + fault.cut]
            size = 1000 if state.delay else len(body) + 1
            for position in range(0, len(rest), size):
                self.wfile.write(rest[position : position + size])
                state.sent += len(rest[position : position + size])
                time.sleep(state.delay)
            self.close_connection = True

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass  # clients close connections while the file is sent

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
