"""Sphinx extension: pages that are files of the repository outside of ``docs``, and links to such files.

A page that contains ``<!-- file: PATH -->`` has the content of that file, relative to the repository.  A paragraph that
ends with ``<!-- only in the repository -->`` is for readers of the files, where nothing is inserted; the site omits it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx

_ROOT = Path(__file__).parents[2]
_PAGES = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "README.md": "index",
    "SECURITY.md": "security",
    "conf/README.md": "reference/configuration/index",
    "lightrnn_pl/demo/README.md": "reference/demo_model",
    "multirun_scripts/README.md": "reference/scripts",
}
"""Files outside of ``docs``, and the pages with their content."""

_MARKER = re.compile(r"^<!-- file: (\S+) -->$", re.MULTILINE)
_REPOSITORY_ONLY = re.compile(r"(?:^.+\n)*^.*<!-- only in the repository -->\n", re.MULTILINE)
_LINK = re.compile(r"\]\((?!\w+:|#|/)([^)#\s]+)(#[^)\s]*)?\)")
_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    folder = PurePosixPath("docs", page).parent
    text = _with_links(_REPOSITORY_ONLY.sub("", source[0]), folder, folder)
    source[0] = _MARKER.sub(lambda match: _content(match[1], folder), text)


def _content(path: str, page_folder: PurePosixPath) -> str:
    text = _FRONT_MATTER.sub("", (_ROOT / path).read_text(encoding="utf-8"))
    return _with_links(text, PurePosixPath(path).parent, page_folder)


def _with_links(text: str, source: PurePosixPath, page: PurePosixPath) -> str:
    """The text of a file in the folder ``source``, with the links of a page in the folder ``page``."""

    def replaced(match: re.Match[str]) -> str:
        path = os.path.normpath(source / match[1])
        if path in _PAGES:
            target = f"/{_PAGES[path]}.md"
        elif path.startswith("docs/") and path.endswith(".md"):
            target = f"/{path.removeprefix('docs/')}"
        else:
            target = os.path.relpath(path, page)
        return f"]({target}{match[2] or ''})"

    return _LINK.sub(replaced, text)
