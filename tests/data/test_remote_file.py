"""Remote files against a real server: positions, and every fault of the server."""

import io
import random

import pytest

from lightrnn_pl.data import remote_file
from lightrnn_pl.data.remote_file import NotResumable, RemoteError, RemoteFile, Unreachable
from tests.data.file_server import Fault, serve

CONTENT = random.Random(0).randbytes(50_000)


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(remote_file, "BACKOFF", 0.01)
    monkeypatch.setattr(remote_file, "TIMEOUT", 0.5)


@pytest.fixture
def server():
    with serve(files={"/file": CONTENT, "/empty": b""}) as state:
        yield state


def read(server, size=7_000) -> bytes:
    with io.BufferedReader(RemoteFile(f"{server.url}/file"), size) as file:
        return b"".join(iter(lambda: file.read(size), b""))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("sized", [True, False])
def test_reads_the_file_with_one_request(server, ranges, sized):
    server.ranges, server.sized = ranges, sized
    assert read(server) == CONTENT
    assert server.requests == [0]


def test_reads_at_any_position(server):
    generator = random.Random(1)
    with io.BufferedReader(RemoteFile(f"{server.url}/file"), 512) as file:
        for _ in range(20):
            position, size = generator.randrange(len(CONTENT)), generator.randrange(2000)
            file.seek(position)
            assert file.read(size) == CONTENT[position : position + size]
        assert file.seek(-5, io.SEEK_END) == len(CONTENT) - 5
        assert file.read() == CONTENT[-5:]
        assert file.read() == b""


def test_size_and_version(server):
    with RemoteFile(f"{server.url}/file") as file:
        assert (file.size, file.version, file.has_ranges) == (50_000, '"v1"', True)
    server.ranges = server.sized = False
    with RemoteFile(f"{server.url}/file") as file:
        assert (file.size, file.version, file.has_ranges) == (None, '"v1"', False)
        with pytest.raises(io.UnsupportedOperation):
            file.seek(10)


def test_resumes_interrupted_responses(server):
    server.faults = [Fault(cut=cut) for cut in (10_000, 0, 0, 1, 20_000)]
    assert read(server) == CONTENT
    assert server.requests == [0, 10_000, 10_000, 10_000, 10_001, 30_001]


def test_resumes_after_a_time_out(server):
    server.faults = [Fault(cut=10_000), Fault(stall=2.0)]
    assert read(server) == CONTENT
    assert server.requests[:2] == [0, 10_000]


def test_a_slow_server_is_not_interrupted(server):
    server.delay = 0.02  # one second in total, which is longer than the time-out
    assert read(server) == CONTENT
    assert server.requests == [0]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_retries_temporary_errors(server, status):
    server.faults = [Fault(status), Fault(cut=100), Fault(status), Fault(status, {"Retry-After": "0"})]
    assert read(server) == CONTENT


def test_gives_up_on_permanent_errors(server):
    server.always = Fault(503)
    with pytest.raises(Unreachable, match=r"^the server responds 503 Service Unavailable after 5 retries"):
        read(server)
    assert len(server.requests) == 6
    server.always = Fault(403)
    with pytest.raises(RemoteError, match=r"^the server responds 403 Forbidden; check the address$"):
        read(server)
    server.always = Fault()
    with pytest.raises(RemoteError, match=r"responds 404 Not Found; check"):
        RemoteFile(f"{server.url}/other")
    with pytest.raises(RemoteError, match=r"the file is empty"):
        RemoteFile(f"{server.url}/empty")


def test_gives_up_on_a_server_that_sends_no_data(server):
    server.faults, server.always = [Fault(cut=10_000)], Fault(cut=0)
    with pytest.raises(Unreachable, match=r"^the connection was lost after 10000 bytes .*; try again later$"):
        read(server)
    assert len(server.requests) == 1 + remote_file.RETRIES


def test_does_not_wait_as_long_as_a_server_asks(server, monkeypatch):
    monkeypatch.setattr(remote_file, "_MAX_RETRY_AFTER", 0.01)
    server.faults = [Fault(429, {"Retry-After": "3600"})]
    assert read(server) == CONTENT


def test_notices_a_file_that_changes(server):
    server.faults = [Fault(cut=10_000), Fault(version="v2")]
    with pytest.raises(RemoteError, match=r"^the file changed on the server while it was read"):
        read(server)


def test_notices_a_server_that_ignores_the_position(server):
    with RemoteFile(f"{server.url}/file") as file:
        file.read(100)
        server.ranges = False
        file.seek(1000)
        with pytest.raises(RemoteError, match=r"does not send the file from byte 1000"):
            file.read(100)


def test_does_not_resume_without_ranges(server):
    server.ranges = False
    server.faults = [Fault(cut=10_000)]
    with pytest.raises(NotResumable, match=r"^the connection was lost after 10000 bytes"):
        read(server)


@pytest.mark.parametrize(
    ("address", "cause"), [("127.0.0.1:9", r".*Connection refused"), ("nowhere.invalid", "Failed to resolve .*")]
)
def test_reports_an_unreachable_server(address, cause):
    with pytest.raises(Unreachable, match=rf"^the server cannot be reached \({cause}\); check the network connection$"):
        RemoteFile(f"http://{address}/file")


def test_reports_an_invalid_address():
    with pytest.raises(RemoteError, match=r"^the address cannot be opened"):
        RemoteFile("http://")
