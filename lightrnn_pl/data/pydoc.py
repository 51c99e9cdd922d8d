"""The default corpus: the English documentation that every CPython carries, so nothing is shipped or downloaded.

Documents are the help topics of ``pydoc`` and the docstrings of the standard library, read from its source files
without importing them.  Which split a document belongs to depends on its name alone; the text, and so the figures
reached on it, differ a little from one version of Python to the next.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa

from lightrnn_pl.data.corpus import SPLITS, Corpus

_VERSION = 1  # of everything below that decides what the text is
_SKIPPED = frozenset(
    {"test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "ensurepip", "encodings", "pydoc_data"}
    | {"site-packages", "dist-packages"}
)
# A number; a word, with its apostrophe; or a run of one sign, such as >>> or **.
_TOKEN = re.compile(r"(?P<number>\d[\w.]*\w|\d)|(?P<word>\w+(?:'\w+)?)|(?P<sign>([^\w\s])\4*)")
_ENDS = frozenset(".!?")
_LONGEST_SIGN = 3  # longer runs are rules and underlines


class PydocCorpus(Corpus):
    """Topics of ``pydoc`` and docstrings of the standard library, some half a million tokens, one sentence a line.

    Letters are lower case, numbers are ``N``, signs are words of their own; underscores stay inside words.
    """

    def has(self, split: str) -> bool:
        """All three are there."""
        return split in SPLITS

    def check(self) -> None:
        """The source files of the standard library are there."""
        if not (_standard_library() / "ast.py").is_file():
            raise ValueError(
                f"this Python has no source files of its standard library in {_standard_library()}, which data=pydoc "
                "reads; give text files: data=text data.train=... data.valid=... data.test=..."
            )

    def fingerprint(self, split: str) -> str:
        """Of the version of Python and of this module."""
        return f"pydoc-{_VERSION}-{platform.python_implementation()}-{platform.python_version()}-{split}"

    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        import datasets

        dataset = datasets.IterableDataset.from_generator(_rows, gen_kwargs={"split": split})
        for table in dataset.with_format("arrow").iter(batch_size=4096):
            yield table.column("text")


def split_of(document: str) -> str:
    """The split that a document belongs to: by the hash of its name 90 % train, 5 % valid, 5 % test."""
    draw = hashlib.sha256(document.encode()).digest()[0] % 20
    return {0: "valid", 1: "test"}.get(draw, "train")


def sentences(text: str) -> Iterator[str]:
    """The tokens of each sentence of ``text``, separated by single spaces.

    A sentence ends after a full stop, a question mark or an exclamation mark that white space follows, or with its
    paragraph.
    """
    for paragraph in re.split(r"\n\s*\n", text):
        words: list[str] = []
        for match in _TOKEN.finditer(paragraph):
            token = match.group()
            if match["number"]:
                words.append("N")
            elif match["word"]:
                words.append(token.lower())
            elif len(token) <= _LONGEST_SIGN:
                words.append(token)
            if words and token in _ENDS and paragraph[match.end() : match.end() + 1].strip() == "":
                yield " ".join(words)
                words = []
        if words:
            yield " ".join(words)


@cache
def _documents() -> dict[str, list[str]]:
    """Sentences by split; gathered once a process, in some seconds."""
    from pydoc_data.topics import topics

    gathered: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in sorted(topics):
        gathered[split_of(f"topic {name}")] += sentences(topics[name])
    root = _standard_library()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED.intersection(parts):
            continue
        module = ".".join(parts)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # templates that are no Python yet
        for name, docstring in _docstrings(tree, module):
            gathered[split_of(name)] += sentences(docstring)
    return gathered


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node)
        if docstring:
            yield name, docstring
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _docstrings(child, f"{name}.{child.name}")


def _rows(split: str) -> Iterator[dict[str, str]]:
    for sentence in _documents()[split]:
        yield {"text": sentence}


def _standard_library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])
