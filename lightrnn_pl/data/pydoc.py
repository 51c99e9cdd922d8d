"""The default corpus: the English documentation included in CPython, so that nothing has to be downloaded.

Its documents are the help topics of ``pydoc`` and the docstrings of the standard library, read from the source files
without importing them.  The split of a document depends only on its name.  The text differs slightly between versions
of Python, and so do perplexities measured on it.
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
from typing_extensions import override

from lightrnn_pl.data.corpus import SPLITS, Corpus

_VERSION = 1  # increment whenever a change to this module changes the text
_SKIPPED = frozenset(
    {"test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo", "ensurepip", "encodings", "pydoc_data"}
    | {"site-packages", "dist-packages"}
)
# A number, a word (with apostrophe), or a run of one punctuation character such as >>> or **.
_TOKEN = re.compile(r"(?P<number>\d[\w.]*\w|\d)|(?P<word>\w+(?:'\w+)?)|(?P<punctuation>([^\w\s])\4*)")
_SENTENCE_ENDS = frozenset(".!?")
_MAX_PUNCTUATION = 3  # longer runs are horizontal rules and underlines


class PydocCorpus(Corpus):
    """Topics of ``pydoc`` and docstrings of the standard library: about half a million tokens, one sentence per line.

    Text is lowercased, numbers are replaced by ``N``, and punctuation is split from words.  Underscores remain part of
    words.
    """

    @override
    def has(self, split: str) -> bool:
        return split in SPLITS

    @override
    def check(self) -> None:
        if not (_standard_library() / "ast.py").is_file():
            raise ValueError(
                f"data=pydoc reads the source files of the standard library, but {_standard_library()} has none; use "
                "text files: data=text data.train=... data.valid=... data.test=..."
            )

    @override
    def fingerprint(self, split: str) -> str:
        return f"pydoc-{_VERSION}-{platform.python_implementation()}-{platform.python_version()}-{split}"

    @override
    def _texts(self, split: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        import datasets

        dataset = datasets.IterableDataset.from_generator(_rows, gen_kwargs={"split": split})
        for table in dataset.with_format("arrow").iter(batch_size=4096):
            yield table.column("text")


def split_of(document: str) -> str:
    """The split of a document, by the hash of its name: 90 % train, 5 % valid, 5 % test."""
    draw = hashlib.sha256(document.encode()).digest()[0] % 20
    return {0: "valid", 1: "test"}.get(draw, "train")


def sentences(text: str) -> Iterator[str]:
    """The tokens of each sentence of ``text``, separated by single spaces.

    A sentence ends at a period, question mark or exclamation mark followed by whitespace, or at the end of its
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
            elif len(token) <= _MAX_PUNCTUATION:
                words.append(token)
            if words and token in _SENTENCE_ENDS and paragraph[match.end() : match.end() + 1].strip() == "":
                yield " ".join(words)
                words = []
        if words:
            yield " ".join(words)


@cache
def _documents() -> dict[str, list[str]]:
    """Sentences by split.  Computed once per process, which takes a few seconds."""
    from pydoc_data.topics import topics

    by_split: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in sorted(topics):
        by_split[split_of(f"topic {name}")] += sentences(topics[name])
    root = _standard_library()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED.intersection(parts):
            continue
        module = ".".join(parts)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # templates, not valid Python
        for name, docstring in _docstrings(tree, module):
            by_split[split_of(name)] += sentences(docstring)
    return by_split


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
