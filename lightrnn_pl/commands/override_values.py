"""Quotes for the values of overrides that Hydra's grammar cannot read, such as names with accented letters."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNREADABLE = re.compile(r"[^\w\s,\[\]{}()'\"/\\+.$%*@?|:-]", re.ASCII)
"""A character that may only be used in quotes (Hydra 1.3, ``OverrideLexer.g4``)."""

_ELEMENT = r"(?:\$\{[^{}]*\}|[^,\[\]{}()'\"])+"
_ELEMENTS = re.compile(rf"\[?{_ELEMENT}(?:,{_ELEMENT})*\]?")


def with_quoted_values(overrides: Sequence[str]) -> list[str]:
    """The same overrides, in which elements of values with unreadable characters are quoted.

    ``data.train=[a.txt,données.txt]`` becomes ``data.train=[a.txt,'données.txt']``.  Values with quotes, nested lists,
    dictionaries or functions are not changed.
    """
    return [_with_quoted_elements(override) for override in overrides]


def quoted(text: str) -> str:
    """The text in single quotes; only quotes, and backslashes before a quote, must be escaped (Hydra 1.3)."""
    escaped = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), text)
    return f"'{escaped}'"


def _with_quoted_elements(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals or override.startswith("-") or not _ELEMENTS.fullmatch(value):
        return override
    return f"{key}={re.sub(_ELEMENT, lambda match: _with_quotes_if_needed(match[0]), value)}"


def _with_quotes_if_needed(element: str) -> str:
    text = element.strip()
    return element.replace(text, quoted(text)) if _UNREADABLE.search(text) else element
