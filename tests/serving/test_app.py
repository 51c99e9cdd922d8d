"""The JSON interface: right answers, plain refusals, and nothing for foreign sites."""

import http.client
import json
import threading
import time
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from lightrnn_pl.serving.app import build_app
from lightrnn_pl.serving.facts import model_facts
from lightrnn_pl.serving.fields import MAX_BYTES, MAX_CHARACTERS, MAX_WORDS
from lightrnn_pl.serving.reader import Reader
from tests.serving.models import served, tiny_bundle

FILES = (
    *("continuation.js", "editor.js", "icon.svg", "page.js", "parts.js", "sentence.js", "server.js"),
    *("style.css", "suggestions.js", "theme.css", "word.js"),
)


@pytest.fixture(scope="module", params=(1, 2))
def reader(request) -> Reader:
    return Reader(tiny_bundle(request.param))


@pytest.fixture(scope="module")
def client(reader):
    app = build_app(reader, model_facts(reader.bundle, "best.ckpt"), ["localhost", "[::1]"])
    with TestClient(app, base_url="http://localhost:8000") as client:
        yield client


def answer(client, path, **fields):
    response = client.post(path, json=fields)
    assert response.status_code == 200, response.text
    content = response.json()
    assert content.pop("milliseconds") >= 0
    return content


def test_answers_are_the_readers(client, reader):
    twin = Reader(reader.bundle)
    expected = json.loads(json.dumps(twin.next_words("the ca", 3, True)))
    assert answer(client, "/api/next", text="the ca", k=3, complete=True) == expected
    assert answer(client, "/api/next", text="") == json.loads(json.dumps(twin.next_words("")))
    assert answer(client, "/api/score", text="the dog sat") == twin.score("the dog sat")
    assert answer(client, "/api/word", word="cat", limit=2) == twin.word("cat", 2)
    assert answer(client, "/api/word", word="dog") == twin.word("dog")
    fields = {"text": "the", "words": 4, "temperature": 0.9, "top_k": 5, "top_p": 0.8, "seed": 3}
    assert answer(client, "/api/generate", **fields) == twin.generate(**fields)
    assert answer(client, "/api/generate", text="the", top_k=None, top_p=None) == twin.generate("the")


def test_facts_and_limits(client):
    facts = client.get("/api/model").json()
    assert facts["corpus"] == "tiny" and facts["end"] == "<eos>"
    assert facts["limits"] == {"characters": MAX_CHARACTERS, "words": MAX_WORDS, "k": 100, "continuation": 200}


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("next", {}, "text must be given as a string"),
        ("next", {"text": 3}, "text must be given as a string, got 3"),
        ("next", {"text": "a", "k": 0}, "k must be a whole number of at least 1, got 0"),
        ("next", {"text": "a", "k": "3"}, "k must be a whole number"),
        ("next", {"text": "a", "k": True}, "k must be a whole number"),
        ("next", {"text": "a", "k": 101}, "k must be at most 100, got 101"),
        ("next", {"text": "a", "complete": 1}, "complete must be true or false, got 1"),
        ("next", {"text": "a", "top": 1}, "there is no field 'top'; there are text, k, complete"),
        ("next", {"text": "a" * (MAX_CHARACTERS + 1)}, "up to 8,000; shorten it"),
        ("score", {"text": "a " * (MAX_WORDS + 1)}, "text has 401 words, and this page reads up to 400"),
        ("word", {"word": "the cat"}, "word must be one word without white space, got 'the cat'"),
        ("word", {"word": ""}, "word must be one word"),
        ("word", {"word": "a", "limit": 501}, "limit must be at most 500"),
        ("generate", {"text": "a", "words": 201}, "words must be at most 200"),
        ("generate", {"text": "a", "temperature": -1}, "temperature must be a number from 0 to 100, got -1"),
        ("generate", {"text": "a", "temperature": 0.0001}, "temperature must be 0"),
        ("generate", {"text": "a", "temperature": float("nan")}, "temperature must be a number"),
        ("generate", {"text": "a", "top_k": 0}, "top_k must be a whole number of at least 1"),
        ("generate", {"text": "a", "top_p": 0}, "top_p must be a share above 0"),
        ("generate", {"text": "a", "top_p": 1.5}, "top_p must be a number from 0 to 1"),
        ("generate", {"text": "a", "seed": -1}, "seed must be a whole number of at least 0"),
        ("generate", {"text": "a", "seed": 2**32}, "seed must be at most 4,294,967,295"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(client, path, fields, message):
    headers = {"content-type": "application/json"}
    response = client.post(f"/api/{path}", content=json.dumps(fields), headers=headers)
    assert response.status_code == 400 and message in response.json()["error"], response.text


def test_what_is_no_json_is_refused(client):
    headers = {"content-type": "application/json; charset=utf-8"}
    for content, status, message in (
        (b"{", 400, "the request is no JSON"),
        (b"\xff", 400, "the request is no JSON"),
        (b"[" * 50_000, 400, "the request is no JSON"),
        (b'"text"', 400, "must be a JSON object"),
        (b" " * (MAX_BYTES + 1), 413, "longer than 65,536 bytes"),
    ):
        response = client.post("/api/next", content=content, headers=headers)
        assert response.status_code == status and message in response.json()["error"], content[:10]
    for kind in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
        response = client.post("/api/next", content=b'{"text": "a"}', headers=kind)
        assert response.status_code == 415 and "send JSON" in response.json()["error"]
    assert client.get("/api/next").status_code == 405
    assert client.post("/api/next", content='{"text": "\\ud800 the"}', headers=headers).status_code == 200


def test_only_the_pages_own_files_have_addresses(client):
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    for name in FILES:
        response = client.get(f"/{name}")
        assert response.status_code == 200, name
        kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[name.rpartition(".")[2]]
        assert response.headers["content-type"].startswith(kind)
    for path in (
        *("/index.html", "/app.py", "/../app.py", "/page/", "/%2e%2e/app.py", "/..%2fapp.py", "/etc/passwd"),
        *("//etc/passwd", "/style.css/", "/style.css%00", "/api", "/api/../style.css%2e"),
    ):
        response = client.get(path, follow_redirects=False)
        moved = response.headers.get("location", "").removeprefix("http://localhost:8000")
        assert response.status_code == 404 or moved in ("/style.css", "/page"), path


def test_a_page_loads_nothing_from_elsewhere(client):
    for path in ("/", "/style.css", "/api/model", "/nowhere"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';"), path
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    texts = [client.get(f"/{name}").text for name in ("", *FILES)]
    for text in texts:
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text


def test_other_host_names_are_refused(client):
    for host, status in (
        *(("localhost:8000", 200), ("LOCALHOST", 200), ("[::1]:8000", 200)),
        *(("evil.example", 400), ("localhost.evil.example:8000", 400), ("127.0.0.1", 400), ("", 400)),
    ):
        assert client.get("/api/model", headers={"host": host}).status_code == status, host
    assert "content-security-policy" in client.get("/", headers={"host": "evil.example"}).headers


def test_typing_goes_on_while_a_continuation_is_made():
    class Slow(Reader):
        started, free = threading.Event(), threading.Event()

        def generate(self, *args, **kwargs):
            self.started.set()
            assert self.free.wait(10)
            return super().generate(*args, **kwargs)

    reader = Slow(tiny_bundle())
    with TestClient(build_app(reader, {}, ["*"])) as client:
        made = []
        thread = threading.Thread(
            target=lambda: made.append(client.post("/api/generate", json={"text": "the"}).status_code)
        )
        thread.start()
        assert reader.started.wait(10)
        begun = time.monotonic()
        assert client.post("/api/next", json={"text": "the"}).status_code == 200
        assert time.monotonic() - begun < 5 and not made
        reader.free.set()
        thread.join(10)
        assert made == [200]


def test_what_nobody_waits_for_is_not_begun(monkeypatch):
    started, free, begun = threading.Event(), threading.Event(), []

    def slow(self, text, *_):
        begun.append(text)
        started.set()
        assert free.wait(20)
        return {}

    monkeypatch.setattr(Reader, "generate", slow)
    with served(tiny_bundle()) as address:
        connections = [http.client.HTTPConnection(urlsplit(address).netloc, timeout=20) for _ in range(3)]
        for number, connection in enumerate(connections):
            connection.request("POST", "/api/generate", f'{{"text": "{number}"}}', {"Content-Type": "application/json"})
            assert started.wait(20)
            time.sleep(0.2)
        connections[1].close()
        # Words are looked up meanwhile.
        connections[1].request("POST", "/api/word", '{"word": "cat"}', {"Content-Type": "application/json"})
        assert json.load(connections[1].getresponse())["known"]
        free.set()
        assert [connections[number].getresponse().status for number in (0, 2)] == [200, 200]
    assert begun == ["0", "2"]


def test_one_request_at_a_time_reads():
    class Counting(Reader):
        here = most = 0

        def score(self, text):
            self.here += 1
            self.most = max(self.most, self.here)
            time.sleep(0.01)
            self.here -= 1
            return super().score(text)

    reader = Counting(tiny_bundle())
    with TestClient(build_app(reader, {}, ["*"])) as client:
        expected = Reader(tiny_bundle()).score("the cat")["log_probability"]
        found: list[float] = []
        threads = [
            threading.Thread(
                target=lambda: found.append(
                    client.post("/api/score", json={"text": "the cat"}).json()["log_probability"]
                )
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert found == [expected] * 8 and reader.most == 1
