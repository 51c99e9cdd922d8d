"""Tiny models to serve.  Their vocabulary includes markup and accented letters."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import uvicorn

from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides
from lightrnn_pl.building import as_config, build_model
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.serving.app import build_app
from lightrnn_pl.serving.model_info import model_info
from lightrnn_pl.serving.text_reader import TextReader
from lightrnn_pl.vocabulary import VocabularyRules
from tests.tiny_model import CONFIG

SCRIPT = "<img/src=x/onerror=document.title='owned'>"
COUNTS = {
    **{"the": 50, "cat": 7, "sat": 6, "on": 5, "mat": 4, "cats": 3, "Cat": 2, "caterpillar": 2, "<eos>": 9},
    **{SCRIPT: 2, "élan": 1, "&amp;": 1, "été": 1},
}


def tiny_bundle(components: int = 2, unknown: str | None = "<unk>") -> Bundle:
    """A model with random weights.  Its word table has empty cells if words have more than one code."""
    torch.manual_seed(0)
    vocabulary = VocabularyRules(unknown=unknown).build(COUNTS)
    model = {**CONFIG["model"]}
    if components == 1:
        model["embedding"] = {
            "_target_": "lightrnn_pl.nn.embeddings.FullEmbedding",
            "_partial_": True,
            "embedding_dim": 6,
        }
        model["output"] = {"_target_": "lightrnn_pl.nn.outputs.FullOutput", "_partial_": True}
    config = as_config({"model": model})
    sides = balanced_sides(len(vocabulary), components)
    allocation = WordAllocation.random(len(vocabulary), sides, seed=1)
    if components == 1:
        allocation = WordAllocation.in_order(len(vocabulary), sides)
    built = build_model(config, allocation, vocabulary).eval()
    return Bundle(built, vocabulary, config, {"end": "<eos>", "corpus": "tiny"}, {"valid_nll": 1.5})


@contextmanager
def served(bundle: Bundle) -> Iterator[str]:
    """Serve a model from a thread and yield the URL of its page."""
    app = build_app(TextReader(bundle), model_info(bundle, "nowhere/best.ckpt"), ["127.0.0.1"])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)
