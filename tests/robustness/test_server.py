"""The server under load and under attack: it answers, refuses in one line, and its memory does not grow."""

import http.client
import json
import resource
import socket
import threading
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn")

from tests.serving.models import served, tiny_bundle

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def address():
    with served(tiny_bundle()) as address:
        yield urlsplit(address).netloc


def post(address, body, path="/api/next", headers=JSON):
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def answers(address):
    status, body = post(address, '{"text": "the"}')
    return status == 200 and json.loads(body)["words"] if b'"words"' in body else status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.example", 403), ("null", 403), ("http://localhost.evil.example", 403), ("https://[::", 400)],
)
def test_pages_of_other_sites_are_refused(origin, status, address):
    assert post(address, '{"text": "the"}', headers={**JSON, "Origin": origin})[0] == status
    assert post(address, '{"text": "the"}', headers={**JSON, "Origin": f"http://{address}"})[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        *("[" * 60_000, '{"a":' * 10_000, '{"text": ' + "9" * 60_000 + "}", '{"text": "' + "\\ud800" * 1000 + '"}'),
        *('{"k": 1e999, "text": "a"}', '{"k": NaN, "text": "a"}', "\0" * 1000, '{"text": "' + "a " * 30_000 + '"}'),
        *('{"text": "a"}' + " " * 70_000, '{"text": "a", "text": "b", "k": -1}', '{"text": {"_target_": "os.system"}}'),
    ],
)
def test_unusual_bodies_are_answered(body, address):
    status, content = post(address, body)
    assert status in (200, 400, 413)
    if status != 200:
        error = json.loads(content)["error"]
        assert error and "\n" not in error and len(error) < 500
    assert answers(address)


def test_slow_and_disconnected_clients_do_not_block_others(address):
    host, port = address.rsplit(":", 1)
    slow = []
    for number in range(50):
        connection = socket.create_connection((host, int(port)), timeout=30)
        connection.sendall(b"POST /api/next HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n"[: 20 + number])
        slow.append(connection)
    assert answers(address)
    for connection in slow:
        connection.close()
    for _ in range(50):
        connection = socket.create_connection((host, int(port)), timeout=30)
        request = b"POST /api/next HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(request + b'Content-Length: 15\r\n\r\n{"text": "the"}')
        connection.close()
    assert answers(address)


def test_200_parallel_requests_have_the_same_answer_and_memory_is_flat(address):
    def burst():
        results: list = []
        threads = [
            threading.Thread(target=lambda: results.append(post(address, '{"text": "the cat", "k": 5}')))
            for _ in range(200)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        bodies = [{**json.loads(body), "milliseconds": None} for status, body in results if status == 200]
        assert len(bodies) == 200 and all(body == bodies[0] for body in bodies)

    burst()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        burst()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
