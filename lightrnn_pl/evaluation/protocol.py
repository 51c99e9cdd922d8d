"""How a text was read, as people read it: the lines of a protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def protocol_lines(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each part of a protocol, in words."""
    return [(key.replace("_", " "), _told(value)) for key, value in protocol.items()]


def _told(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(part)}" for key, part in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
