"""Parsing and validation of the JSON fields of a request.  Every error names the invalid field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

from lightrnn_pl.checks import check_count, check_flag, check_number
from lightrnn_pl.tokenization import Tokenizer

MAX_BYTES = 64 * 1024
MAX_CHARACTERS = 8000
MAX_WORDS = 400


class RequestFields:
    """The fields of a request.

    Args:
        values: Mapping from field names to values.
        names: Names of the supported fields.

    Raises:
        ValueError: If ``values`` contains a field that is not in ``names``.
    """

    def __init__(self, values: Mapping[str, Any], names: Iterable[str]) -> None:
        names = list(names)
        for name in values:
            if name not in names:
                raise ValueError(f"unknown field {name!r}; expected {', '.join(names)}")
        self._values = values

    def text(self, tokenize: Tokenizer = str.split, name: str = "text") -> str:
        """Return a text field, whose words are counted by ``tokenize``.

        Raises:
            ValueError: If the field is missing, is not a string, or has too many characters or words.
        """
        value = self._string(name)
        num_words = len(tokenize(value))
        if num_words > MAX_WORDS:
            raise ValueError(f"{name} has {num_words:,} words; the limit is {MAX_WORDS}")
        return value

    def word(self, name: str = "word") -> str:
        """Return a field that contains a single word.

        Raises:
            ValueError: If the field is missing, is not a string, is empty, or contains whitespace.
        """
        value = self._string(name)
        if value.split() != [value]:
            raise ValueError(f"{name} must be a single word without whitespace, got {value[:80]!r}")
        return value

    def count(self, name: str, default: int, maximum: int, minimum: int = 1) -> int:
        """Return an integer field, or ``default`` if it is missing or null.

        Raises:
            ValueError: If the field is not an integer from ``minimum`` to ``maximum``.
        """
        value = self._values.get(name)
        if value is None:
            return default
        check_count(name, value, at_least=minimum, at_most=maximum)
        return int(value)

    def optional_count(self, name: str, maximum: int) -> int | None:
        """Return a positive integer field, or None if it is missing or null.

        Raises:
            ValueError: If the field is not an integer from 1 to ``maximum``.
        """
        return None if self._values.get(name) is None else self.count(name, 1, maximum)

    def number(self, name: str, default: float | None, minimum: float, maximum: float) -> float | None:
        """Return a numeric field, or ``default`` if it is missing or null.

        Raises:
            ValueError: If the field is not a number from ``minimum`` to ``maximum``.
        """
        value = self._values.get(name)
        if value is None:
            return default
        check_number(name, value, minimum, maximum)
        return float(value)

    def flag(self, name: str) -> bool:
        """Return a boolean field, or False if it is missing.

        Raises:
            ValueError: If the field is not a boolean.
        """
        value = self._values.get(name, False)
        check_flag(name, value)
        return bool(value)

    def _string(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            raise ValueError(f"{name} is required and must be a string")
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a string, got {value!r:.80}")
        if len(value) > MAX_CHARACTERS:
            raise ValueError(f"{name} has {len(value):,} characters; the limit is {MAX_CHARACTERS:,}")
        return value


async def read_json(request: Request) -> dict[str, Any]:
    """Read the JSON object in the body of a request.

    Raises:
        HTTPException: With status 403 if a page of another site sent the request, 415 if the content type is not JSON,
            413 if the body is too large, or 400 if it is not a JSON object.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).hostname != request.url.hostname:
        raise HTTPException(403, "requests from other sites are not allowed")
    # HTML forms on other sites cannot send this content type without a CORS preflight, which is never answered.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the request must have the header Content-Type: application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"the request body is larger than {MAX_BYTES:,} bytes")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request body is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise HTTPException(400, 'the request body must be a JSON object, for example {"text": "the cat"}')
    return content
