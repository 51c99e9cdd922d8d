"""Formatting of evaluation protocols for display."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def protocol_lines(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and formatted value of each entry of a protocol."""
    return [(key.replace("_", " "), _format(value)) for key, value in protocol.items()]


def _format(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_format(part)}" for key, part in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
