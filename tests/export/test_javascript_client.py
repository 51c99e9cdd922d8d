"""``client.mjs`` of an ONNX export, in Node.js and in a browser, compared with ``client.py``."""

import json
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lightrnn_pl.export.onnx_client import OnnxModel
from lightrnn_pl.export.onnx_writer import write_onnx
from tests.browsers import chromium, needs_chromium, watched_page
from tests.export.bundles import bundle_of

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

PACKAGES = Path(sys.prefix) / "javascript" / "node_modules"
pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not PACKAGES.is_dir(),
    reason="requires Node.js, and npm install --prefix .venv/javascript onnxruntime-web",
)

TEXTS = ["the été w3 w40", "the été w3 w40 w8", "the", "", "w52 never-seen l'eau"]
PREFIXES = ["", "w1", "W5", "É", "nowhere"]
SCRIPT = """
const ort = await import("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const { LanguageModel } = await import(FOLDER + "/client.mjs");
const model = await LanguageModel.load(ort, FOLDER);
const results = { scores: [], next: [], all: await model.nextWords("the", 1000, { unknown: true }) };
for (const text of TEXTS) {
  results.scores.push(await model.score(text));
  for (const prefix of PREFIXES) {
    results.next.push(await model.nextWords(text, 3, { prefix }));
  }
}
console.log(JSON.stringify(results));
"""


@pytest.fixture
def folder(tmp_path):
    """A folder in which Node.js finds onnxruntime-web."""
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    return tmp_path


def node(*arguments: str, folder: Path, text: str = "") -> tuple[str, str, int]:
    """Standard output, standard error and exit status of Node.js."""
    command = ["node", *arguments]
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize("name", ["row word in two steps", "cube", "full"])
def test_scores_and_next_words_equal_those_of_the_python_client(name, folder):
    write_onnx(bundle_of(name), folder)
    script = SCRIPT.replace("FOLDER", json.dumps(str(folder)))
    script = script.replace("TEXTS", json.dumps(TEXTS)).replace("PREFIXES", json.dumps(PREFIXES))
    (folder / "script.mjs").write_text(script, encoding="utf-8")
    output, errors, status = node("script.mjs", folder=folder)
    assert status == 0, errors
    results, model = json.loads(output), OnnxModel(folder)
    for text, scores in zip(TEXTS, results["scores"], strict=True):
        assert scores == pytest.approx(model.score(text), abs=1e-5)
    cases = [(text, prefix) for text in TEXTS for prefix in PREFIXES]
    for (text, prefix), actual in zip(cases, results["next"], strict=True):
        assert_same(actual, model.next_words(text, 3, prefix)[0])
    assert_same(results["all"], model.next_words("the", 1000, unknown=True)[0])


def assert_same(actual: list[dict], expected: list[tuple[str, float]]) -> None:
    assert [entry["word"] for entry in actual] == [word for word, _ in expected]
    assert [entry["probability"] for entry in actual] == pytest.approx([share for _, share in expected], abs=1e-6)


def test_the_command_prints_what_the_python_client_prints(folder):
    bundle = bundle_of("lightrnn")
    write_onnx(bundle, folder)
    output, errors, status = node("client.mjs", ".", folder=folder, text="the w3 never\n")
    score, text = output.rstrip("\n").split("\t")
    assert (status, errors, text) == (0, "", "the w3 never")
    assert float(score) == pytest.approx(sum(bundle.score([text])[0]), abs=1e-4)
    lines = "the w3\nthe x\nnever w\n"
    output, errors, status = node("client.mjs", ".", "--next", "2", "--complete", folder=folder, text=lines)
    expected = [bundle.next_words("the", 2, prefix="w3").words, (), bundle.next_words("never", 2, prefix="w").words]
    assert [line.split("\t")[0] for line in output.splitlines()] == [
        word for words in expected for word in (*words, "")
    ]
    assert errors.splitlines() == [
        "no word of the vocabulary starts with x",
        "not in the vocabulary, read as <unk>: never",
    ]


def test_errors_are_one_line(folder):
    write_onnx(bundle_of("lightrnn"), folder)
    for arguments, message in (
        ([], "error: usage: node client.mjs FOLDER"),
        ([".", "--next", "0"], "error: --next must be at least 1, got 0"),
        ([".", "--complete"], "error: --complete and --unknown require --next"),
        (["nowhere"], "error: nowhere/metadata.json cannot be read; pass a folder written with format=onnx"),
    ):
        output, errors, status = node("client.mjs", *arguments, folder=folder)
        assert (output, status) == ("", 2) and errors.startswith(message) and errors.count("\n") == 1
    (folder / "table.bin").write_bytes(bytes(folder.joinpath("table.bin").stat().st_size))
    assert node("client.mjs", ".", folder=folder)[1] == "error: . is damaged: table.bin was changed\n"


@needs_chromium
def test_a_web_page_finds_the_same_words(folder):
    write_onnx(bundle_of("lightrnn"), folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    (folder / "page").mkdir()
    (folder / "page" / "index.html").write_text("<!DOCTYPE html><title>page</title>", encoding="utf-8")
    with chromium() as browser:
        page = watched_page(browser, address)
        page.goto(f"{address}page/index.html")
        words = page.evaluate(
            """async () => {
              const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
              ort.env.wasm.numThreads = 1;
              const { LanguageModel } = await import("../client.mjs");
              const model = await LanguageModel.load(ort, "..");
              return await model.nextWords("the w3", 5, { prefix: "w" });
            }"""
        )
        assert_same(words, OnnxModel(folder).next_words("the w3", 5, "w")[0])
        assert [problem for problem in page.problems if "favicon" not in problem and "404" not in problem] == []
    server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without logging the requests."""

    def log_message(self, format, *arguments):
        pass
