"""What a request asks for, taken field by field and refused with the name of the field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from lightrnn_pl.checks import check_count, check_flag, check_number

MAX_BYTES = 64 * 1024
MAX_CHARACTERS = 8000
MAX_WORDS = 400


class Fields:
    """The fields of a request.

    Args:
        values: By name.
        names: Those that there may be.

    Raises:
        ValueError: For a field of another name.
    """

    def __init__(self, values: Mapping[str, Any], names: Iterable[str]) -> None:
        names = list(names)
        for name in values:
            if name not in names:
                raise ValueError(f"there is no field {name!r}; there are {', '.join(names)}")
        self._values = values

    def text(self, name: str = "text") -> str:
        """Text of no more than the largest number of characters and words.

        Raises:
            ValueError: If it is missing, no string, or too long.
        """
        value = self._string(name)
        words = len(value.split())
        if words > MAX_WORDS:
            raise ValueError(f"{name} has {words:,} words, and this page reads up to {MAX_WORDS}; shorten it")
        return value

    def word(self, name: str = "word") -> str:
        """One word without white space.

        Raises:
            ValueError: If it is something else.
        """
        value = self._string(name)
        if value.split() != [value]:
            raise ValueError(f"{name} must be one word without white space, got {value[:80]!r}")
        return value

    def count(self, name: str, default: int, most: int, least: int = 1) -> int:
        """A whole number within bounds.

        Raises:
            ValueError: If it is none.
        """
        value = self._values.get(name)
        if value is None:
            return default
        check_count(name, value, at_least=least)
        if value > most:
            raise ValueError(f"{name} must be at most {most:,}, got {value}")
        return int(value)

    def optional_count(self, name: str, most: int) -> int | None:
        """A whole number within bounds, or None where the field is missing or null.

        Raises:
            ValueError: If it is neither.
        """
        return None if self._values.get(name) is None else self.count(name, 1, most)

    def number(self, name: str, default: float | None, least: float, most: float) -> float | None:
        """A number within bounds.

        Raises:
            ValueError: If it is none.
        """
        value = self._values.get(name)
        if value is None:
            return default
        check_number(name, value, least, most)
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false, false where the field is missing.

        Raises:
            ValueError: If it is neither.
        """
        value = self._values.get(name, False)
        check_flag(name, value)
        return bool(value)

    def _string(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str):
            raise ValueError(f"{name} must be given as a string" + ("" if value is None else f", got {value!r:.80}"))
        if len(value) > MAX_CHARACTERS:
            raise ValueError(
                f"{name} has {len(value):,} characters, and this page reads up to {MAX_CHARACTERS:,}; shorten it"
            )
        return value


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises:
        HTTPException: 415 if it is not called JSON, 413 if it is too long, 400 if it is something else.
    """
    # Other sites' forms cannot send this type without asking, and nobody answers them.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send JSON, with the header Content-Type: application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"the request is longer than {MAX_BYTES:,} bytes")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise HTTPException(400, 'the request must be a JSON object, such as {"text": "the cat"}')
    return content
