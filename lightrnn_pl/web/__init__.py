"""Assets shared by the page of ``lightrnn-serve`` and the page of ``lightrnn-report``."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

_SUFFIXES = (".js", ".css")


def shared_assets() -> dict[str, Traversable]:
    """Return the shared scripts and style sheets by file name."""
    files = resources.files(__name__).iterdir()
    return {file.name: file for file in sorted(files, key=lambda file: file.name) if file.name.endswith(_SUFFIXES)}
