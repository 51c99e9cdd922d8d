"""The page and its JSON interface as an ASGI application (Starlette).

The page is a handful of fixed files that are read once: no URL names a path.  Every answer forbids the browser to load
anything from elsewhere, and a request that was sent to another host name than one of ours is refused, so that no
foreign site can point its own name at this machine and read along (DNS rebinding).

The model works in three threads, one for what is typed, one for continuations, which take longer, and one for looking
words up: the event loop stays free, and the model sees one request of a kind at a time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightrnn_pl.serving.fields import MAX_CHARACTERS, MAX_WORDS, Fields, read_json
from lightrnn_pl.serving.reader import Reader

MAX_K = 100
MAX_NEIGHBOURS = 500
MAX_CONTINUATION = 200

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class SafeHeaders:
    """Adds to every answer what keeps a browser from loading, embedding or guessing anything."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Worker:
    """A thread that handles one request at a time and skips requests whose client has disconnected.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)
        self._turn = asyncio.Lock()

    async def answer(self, request: Request, work: Callable[[], dict[str, Any]]) -> Response:
        """What ``work`` answers, and how long it took, waiting left out."""

        def run() -> dict[str, Any]:
            start = time.perf_counter()
            answer = work()
            return {**answer, "milliseconds": round(1000 * (time.perf_counter() - start), 3)}

        async with self._turn:
            # The page drops a question when a newer one is asked.
            if await request.is_disconnected():
                return _json({"error": "the client has disconnected"}, 499)
            return _json(await asyncio.get_running_loop().run_in_executor(self._executor, run))

    def close(self) -> None:
        """End the thread once it is done."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def build_app(reader: Reader, facts: dict[str, Any], hosts: Sequence[str]) -> Starlette:
    """The application.

    Args:
        reader: Answers for one model.
        facts: What the page shows about the model, in plain types.
        hosts: Host names that requests may be sent to, without ports; ``*`` for all of them.
    """
    typing, continuing, looking_up = workers = Worker("typing"), Worker("continuing"), Worker("looking up")
    limits = {"characters": MAX_CHARACTERS, "words": MAX_WORDS, "k": MAX_K, "continuation": MAX_CONTINUATION}

    async def model(request: Request) -> Response:
        return _json({**facts, "limits": limits})

    async def next_words(request: Request) -> Response:
        fields = Fields(await read_json(request), ("text", "k", "complete"))
        text, k, complete = fields.text(), fields.count("k", 10, MAX_K), fields.flag("complete")
        return await typing.answer(request, lambda: reader.next_words(text, k, complete))

    async def score(request: Request) -> Response:
        text = Fields(await read_json(request), ("text",)).text()
        return await typing.answer(request, lambda: reader.score(text))

    async def word(request: Request) -> Response:
        fields = Fields(await read_json(request), ("word", "limit"))
        spelled, limit = fields.word(), fields.count("limit", 24, MAX_NEIGHBOURS)
        return await looking_up.answer(request, lambda: reader.word(spelled, limit))

    async def generate(request: Request) -> Response:
        fields = Fields(await read_json(request), ("text", "words", "temperature", "top_k", "top_p", "seed"))
        text, words = fields.text(), fields.count("words", 20, MAX_CONTINUATION)
        temperature = fields.number("temperature", 1.0, 0, 100)
        assert temperature is not None
        top_k, top_p = fields.optional_count("top_k", 10**9), fields.number("top_p", None, 0, 1)
        seed = fields.count("seed", 0, 2**32 - 1, least=0)
        return await continuing.answer(request, lambda: reader.generate(text, words, temperature, top_k, top_p, seed))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        for worker in workers:
            worker.close()

    return Starlette(
        routes=[
            Route("/api/model", model, methods=["GET"]),
            Route("/api/next", next_words, methods=["POST"]),
            Route("/api/score", score, methods=["POST"]),
            Route("/api/word", word, methods=["POST"]),
            Route("/api/generate", generate, methods=["POST"]),
            *_page(),
        ],
        middleware=[
            Middleware(SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={ValueError: _refused, HTTPException: _refused},
        lifespan=lifespan,
    )


def _json(content: Any, status: int = 200, headers: Any = None) -> Response:
    # ASCII only: a lone surrogate in a word is no UTF-8.
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, status, headers, "application/json")


def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _json({"error": error.detail}, error.status_code, error.headers)
    return _json({"error": str(error)}, 400)


def _page() -> list[Route]:
    """A route for each file of the page."""
    routes = []
    for file in sorted((files("lightrnn_pl.serving") / "page").iterdir(), key=lambda file: file.name):
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/{file.name}"
            routes.append(Route(path, _file(file.read_bytes(), kind), methods=["GET"]))
    return routes


def _file(content: bytes, kind: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer
