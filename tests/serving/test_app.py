"""The JSON API: results, error messages, and protection against other sites."""

import http.client
import json
import threading
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from lightrnn_pl.serving.app import build_app
from lightrnn_pl.serving.model_info import model_info
from lightrnn_pl.serving.request_fields import MAX_BYTES, MAX_CHARACTERS, MAX_WORDS
from lightrnn_pl.serving.text_reader import TextReader
from tests.serving.models import served, tiny_bundle

FILES = (
    *("api_client.js", "continuation.js", "dom.js", "icon.svg", "next_word_list.js", "number_format.js"),
    *("serve_page.js", "style.css", "text_editor.js", "theme.css", "word_card.js", "word_scores.js"),
)


@pytest.fixture(scope="module", params=(1, 2))
def reader(request) -> TextReader:
    return TextReader(tiny_bundle(request.param))


@pytest.fixture(scope="module")
def client(reader):
    app = build_app(reader, model_info(reader.bundle, "best.ckpt"), ["localhost", "[::1]"])
    with TestClient(app, base_url="http://localhost:8000") as client:
        yield client


def post(client, path, **fields):
    response = client.post(path, json=fields)
    assert response.status_code == 200, response.text
    result = response.json()
    assert result.pop("milliseconds") >= 0
    return result


def test_responses_match_the_reader(client, reader):
    other = TextReader(reader.bundle)
    expected = json.loads(json.dumps(other.next_words("the ca", 3, True)))
    assert post(client, "/api/next", text="the ca", k=3, complete=True) == expected
    assert post(client, "/api/next", text="") == json.loads(json.dumps(other.next_words("")))
    assert post(client, "/api/score", text="the dog sat") == other.score("the dog sat")
    assert post(client, "/api/word", word="cat", limit=2) == other.word("cat", 2)
    assert post(client, "/api/word", word="dog") == other.word("dog")
    fields = {"text": "the", "words": 4, "temperature": 0.9, "top_k": 5, "top_p": 0.8, "seed": 3}
    assert post(client, "/api/generate", **fields) == other.generate(**fields)
    assert post(client, "/api/generate", text="the", top_k=None, top_p=None) == other.generate("the")


def test_model_info_and_limits(client):
    info = client.get("/api/model").json()
    assert info["corpus"] == "tiny" and info["end"] == "<eos>"
    assert info["limits"] == {"characters": MAX_CHARACTERS, "words": MAX_WORDS, "k": 100, "continuation": 200}


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("next", {}, "text is required and must be a string"),
        ("next", {"text": 3}, "text must be a string, got 3"),
        ("next", {"text": "a", "k": 0}, "k must be "),
        ("next", {"text": "a", "k": "3"}, "k must be "),
        ("next", {"text": "a", "k": True}, "k must be "),
        ("next", {"text": "a", "k": 101}, "k must be at most 100, got 101"),
        ("next", {"text": "a", "complete": 1}, "complete must be "),
        ("next", {"text": "a", "top": 1}, "unknown field 'top'; expected text, k, complete"),
        ("next", {"text": "a" * (MAX_CHARACTERS + 1)}, "text has 8,001 characters; the limit is 8,000"),
        ("score", {"text": "a " * (MAX_WORDS + 1)}, "text has 401 words; the limit is 400"),
        ("word", {"word": "the cat"}, "word must be a single word without whitespace, got 'the cat'"),
        ("word", {"word": ""}, "word must be a single word"),
        ("word", {"word": "a", "limit": 501}, "limit must be at most 500"),
        ("generate", {"text": "a", "words": 201}, "words must be at most 200"),
        ("generate", {"text": "a", "temperature": -1}, "temperature must be "),
        ("generate", {"text": "a", "temperature": 0.0001}, "temperature must be "),
        ("generate", {"text": "a", "temperature": float("nan")}, "temperature must be "),
        ("generate", {"text": "a", "top_k": 0}, "top_k must be "),
        ("generate", {"text": "a", "top_p": 0}, "top_p must be "),
        ("generate", {"text": "a", "top_p": 1.5}, "top_p must be "),
        ("generate", {"text": "a", "seed": -1}, "seed must be "),
        ("generate", {"text": "a", "seed": 2**32}, "seed must be at most 4,294,967,295"),
    ],
)
def test_errors_name_the_invalid_field(client, path, fields, message):
    headers = {"content-type": "application/json"}
    response = client.post(f"/api/{path}", content=json.dumps(fields), headers=headers)
    assert response.status_code == 400 and message in response.json()["error"], response.text


def test_the_words_of_the_tokenizer_are_counted():
    reader = TextReader(replace(tiny_bundle(), tokenizer="treebank"))
    client = TestClient(build_app(reader, {}, ["testserver"]))
    for text, status in (("a," * (MAX_WORDS // 2), 200), ("a," * MAX_WORDS, 400)):
        assert client.post("/api/score", json={"text": text}).status_code == status


def test_requests_that_are_not_json_are_rejected(client):
    headers = {"content-type": "application/json; charset=utf-8"}
    for content, status, message in (
        (b"{", 400, "the request body is not valid JSON"),
        (b"\xff", 400, "the request body is not valid JSON"),
        (b"[" * 50_000, 400, "the request body is not valid JSON"),
        (b'"text"', 400, "must be a JSON object"),
        (b" " * (MAX_BYTES + 1), 413, "larger than 65,536 bytes"),
    ):
        response = client.post("/api/next", content=content, headers=headers)
        assert response.status_code == status and message in response.json()["error"], content[:10]
    for headers_without_json in (
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ):
        response = client.post("/api/next", content=b'{"text": "a"}', headers=headers_without_json)
        assert response.status_code == 415 and "Content-Type: application/json" in response.json()["error"]
    assert client.get("/api/next").status_code == 405
    assert client.post("/api/next", content='{"text": "\\ud800 the"}', headers=headers).status_code == 200


def test_only_files_of_the_page_are_served(client):
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    for name in FILES:
        response = client.get(f"/{name}")
        assert response.status_code == 200, name
        media_type = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[name.rpartition(".")[2]]
        assert response.headers["content-type"].startswith(media_type)
    for path in (
        *("/index.html", "/app.py", "/../app.py", "/page/", "/%2e%2e/app.py", "/..%2fapp.py", "/etc/passwd"),
        *("//etc/passwd", "/style.css/", "/style.css%00", "/api", "/api/../style.css%2e"),
    ):
        response = client.get(path, follow_redirects=False)
        location = response.headers.get("location", "").removeprefix("http://localhost:8000")
        assert response.status_code == 404 or location in ("/style.css", "/page"), path


def test_pages_load_nothing_from_other_origins(client):
    for path in ("/", "/style.css", "/api/model", "/nowhere"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';"), path
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    texts = [client.get(f"/{name}").text for name in ("", *FILES)]
    for text in texts:
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text


def test_other_host_names_are_rejected(client):
    for host, status in (
        *(("localhost:8000", 200), ("LOCALHOST", 200), ("[::1]:8000", 200)),
        *(("evil.example", 400), ("localhost.evil.example:8000", 400), ("127.0.0.1", 400), ("", 400)),
    ):
        assert client.get("/api/model", headers={"host": host}).status_code == status, host
    assert "content-security-policy" in client.get("/", headers={"host": "evil.example"}).headers


def test_next_words_are_available_during_generation():
    class SlowReader(TextReader):
        started, proceed = threading.Event(), threading.Event()

        def generate(self, *args, **kwargs):
            self.started.set()
            assert self.proceed.wait(10)
            return super().generate(*args, **kwargs)

    reader = SlowReader(tiny_bundle())
    with TestClient(build_app(reader, {}, ["*"])) as client:
        statuses = []
        thread = threading.Thread(
            target=lambda: statuses.append(client.post("/api/generate", json={"text": "the"}).status_code)
        )
        thread.start()
        assert reader.started.wait(10)
        start = time.monotonic()
        assert client.post("/api/next", json={"text": "the"}).status_code == 200
        assert time.monotonic() - start < 5 and not statuses
        reader.proceed.set()
        thread.join(10)
        assert statuses == [200]


def test_requests_of_disconnected_clients_are_skipped(monkeypatch):
    started, proceed, processed = threading.Event(), threading.Event(), []

    def slow(self, text, *_):
        processed.append(text)
        started.set()
        assert proceed.wait(20)
        return {}

    monkeypatch.setattr(TextReader, "generate", slow)
    with served(tiny_bundle()) as address:
        connections = [http.client.HTTPConnection(urlsplit(address).netloc, timeout=20) for _ in range(3)]
        for number, connection in enumerate(connections):
            connection.request("POST", "/api/generate", f'{{"text": "{number}"}}', {"Content-Type": "application/json"})
            assert started.wait(20)
            time.sleep(0.2)
        connections[1].close()
        # Word lookups are handled at the same time.
        connections[1].request("POST", "/api/word", '{"word": "cat"}', {"Content-Type": "application/json"})
        assert json.load(connections[1].getresponse())["known"]
        proceed.set()
        assert [connections[number].getresponse().status for number in (0, 2)] == [200, 200]
    assert processed == ["0", "2"]


def test_requests_of_one_kind_do_not_overlap():
    class CountingReader(TextReader):
        active = max_active = 0

        def score(self, text):
            self.active += 1
            self.max_active = max(self.max_active, self.active)
            time.sleep(0.01)
            self.active -= 1
            return super().score(text)

    reader = CountingReader(tiny_bundle())
    with TestClient(build_app(reader, {}, ["*"])) as client:
        expected = TextReader(tiny_bundle()).score("the cat")["log_probability"]
        results: list[float] = []
        threads = [
            threading.Thread(
                target=lambda: results.append(
                    client.post("/api/score", json={"text": "the cat"}).json()["log_probability"]
                )
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert results == [expected] * 8 and reader.max_active == 1
