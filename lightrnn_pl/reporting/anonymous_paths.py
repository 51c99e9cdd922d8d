"""Removes the folders from absolute paths, because they are meaningless elsewhere and may reveal private names."""

from __future__ import annotations

import re
from typing import Any

_PATH = re.compile(r"(?:~|[A-Za-z]:)?[\\/](?:[^\\/]+[\\/])+[^\\/]+[\\/]?|~[\\/][^\\/]+[\\/]?")
_IN_TEXT = re.compile(r"(?<![\w.:/~<])(?:~|[A-Za-z]:)?/(?:[^\s/:'\",()\[\]]+/)+([^\s/:'\",()\[\]]*)")


def without_folders(content: Any) -> Any:
    """The same content, with every value that is an absolute path shortened to its last component."""
    if isinstance(content, dict):
        return {key: without_folders(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_folders(value) for value in content]
    if isinstance(content, str) and _PATH.fullmatch(content):
        return re.split(r"[\\/]", content.rstrip("\\/"))[-1]
    return content


def text_without_folders(text: str) -> str:
    """The same text, with every absolute path shortened to its last component."""
    return _IN_TEXT.sub(lambda match: match[1], text)
