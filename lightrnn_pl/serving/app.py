"""The web page of ``lightrnn-serve`` and its JSON API as an ASGI application (Starlette).

The page is a fixed set of files that are read once at startup, so no URL is ever mapped to a file system path.  Every
response forbids the browser from loading resources from other origins.  Requests whose ``Host`` header is not an
allowed host name are rejected, which protects against DNS rebinding.

The model runs in three threads: one for next words and scores, one for continuations (which take longer), and one for
word lookups.  The event loop is never blocked, and each thread handles one request at a time.
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

from lightrnn_pl.serving.request_fields import MAX_CHARACTERS, MAX_WORDS, RequestFields, read_json
from lightrnn_pl.serving.text_reader import TextReader
from lightrnn_pl.web import shared_assets

MAX_K = 100
MAX_NEIGHBORS = 500
MAX_CONTINUATION = 200

_MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

_SECURITY_HEADERS = {
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


class SecurityHeaders:
    """ASGI middleware that adds security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class RequestWorker:
    """A thread that handles one request at a time and skips requests whose client has disconnected.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)
        self._lock = asyncio.Lock()

    async def respond(self, request: Request, compute: Callable[[], dict[str, Any]]) -> Response:
        """Run ``compute`` in the thread and return its result as JSON.

        The response includes ``milliseconds``, the time that ``compute`` took, without the time spent waiting for the
        thread.
        """

        def run() -> dict[str, Any]:
            start = time.perf_counter()
            result = compute()
            return {**result, "milliseconds": round(1000 * (time.perf_counter() - start), 3)}

        async with self._lock:
            # The page aborts a request when it sends a newer one.
            if await request.is_disconnected():
                return _json_response({"error": "the client has disconnected"}, 499)
            return _json_response(await asyncio.get_running_loop().run_in_executor(self._executor, run))

    def close(self) -> None:
        """Stop the thread after its current request."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def build_app(reader: TextReader, info: dict[str, Any], hosts: Sequence[str]) -> Starlette:
    """Build the ASGI application.

    Args:
        reader: Answers queries about one model.
        info: Information about the model that the page displays, as JSON-compatible types.
        hosts: Allowed host names, without ports; ``*`` allows any host.
    """
    typing, continuing, looking_up = workers = (
        RequestWorker("typing"),
        RequestWorker("continuation"),
        RequestWorker("word-lookup"),
    )
    tokenize = reader.bundle.tokenize
    limits = {"characters": MAX_CHARACTERS, "words": MAX_WORDS, "k": MAX_K, "continuation": MAX_CONTINUATION}

    async def model(request: Request) -> Response:
        return _json_response({**info, "limits": limits})

    async def next_words(request: Request) -> Response:
        fields = RequestFields(await read_json(request), ("text", "k", "complete", "unknown"))
        text, k = fields.text(tokenize), fields.count("k", 10, MAX_K)
        complete, unknown = fields.flag("complete"), fields.flag("unknown")
        return await typing.respond(request, lambda: reader.next_words(text, k, complete, unknown))

    async def score(request: Request) -> Response:
        text = RequestFields(await read_json(request), ("text",)).text(tokenize)
        return await typing.respond(request, lambda: reader.score(text))

    async def word(request: Request) -> Response:
        fields = RequestFields(await read_json(request), ("word", "limit"))
        requested, limit = fields.word(), fields.count("limit", 24, MAX_NEIGHBORS)
        return await looking_up.respond(request, lambda: reader.word(requested, limit))

    async def generate(request: Request) -> Response:
        fields = RequestFields(await read_json(request), ("text", "words", "temperature", "top_k", "top_p", "seed"))
        text, words = fields.text(tokenize), fields.count("words", 20, MAX_CONTINUATION)
        temperature = fields.number("temperature", 1.0, 0, 100)
        assert temperature is not None
        top_k, top_p = fields.optional_count("top_k", 10**9), fields.number("top_p", None, 0, 1)
        seed = fields.count("seed", 0, 2**32 - 1, minimum=0)
        return await continuing.respond(request, lambda: reader.generate(text, words, temperature, top_k, top_p, seed))

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
            *_page_routes(),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={ValueError: _error_response, HTTPException: _error_response},
        lifespan=lifespan,
    )


def _json_response(content: Any, status: int = 200, headers: Any = None) -> Response:
    # ASCII only, because a lone surrogate in a word cannot be encoded as UTF-8.
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, status, headers, "application/json")


def _error_response(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _json_response({"error": error.detail}, error.status_code, error.headers)
    return _json_response({"error": str(error)}, 400)


def _page_routes() -> list[Route]:
    """One route for each file of the page."""
    routes = []
    page_files = (files("lightrnn_pl.serving") / "page").iterdir()
    for file in [*shared_assets().values(), *sorted(page_files, key=lambda file: file.name)]:
        media_type = _MEDIA_TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            path = "/" if file.name == "index.html" else f"/{file.name}"
            routes.append(Route(path, _file_endpoint(file.read_bytes(), media_type), methods=["GET"]))
    return routes


def _file_endpoint(content: bytes, media_type: str) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint
