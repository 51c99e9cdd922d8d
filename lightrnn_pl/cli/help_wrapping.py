"""Wraps the text of ``--help`` to the width of the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_EXAMPLE = re.compile(r"  (?P<command>lightrnn-\S.*?)  +(?P<description>\S.*)")
_KEY = re.compile(r"(?P<key>\s*[\w.-]+: [^#]*?\s*)# (?P<comment>.*)")
_COMMENT = re.compile(r"(?P<indent>\s*)# (?P<comment>.*)")
_DESCRIPTION = re.compile(r"(?P<indent> {4,})[a-z]+ .*")  # of the example in the line before
_CONTINUATION = " " * 10  # of the description in the line of an example
_GROUP = re.compile(r"[\w/]+: \w+(, \w+)*")


def wrap_help(text: str, width: int) -> str:
    """The text with lines of at most ``width`` characters, except for commands and values that are longer."""
    return "\n".join(line for paragraph in _paragraphs(text) for line in _wrap(paragraph, width))


def _paragraphs(text: str) -> Iterator[list[str]]:
    """The lines of the text, in groups that may be filled together: prose, and comments of the same indent."""
    paragraph: list[str] = []
    previous: str | None = None
    for line in text.splitlines():
        if line.startswith(_CONTINUATION) and paragraph:
            paragraph.append(line)
            continue
        if (kind := _kind(line)) is None or kind != previous:
            if paragraph:
                yield paragraph
            paragraph = []
        paragraph.append(line)
        previous = kind
    yield paragraph


def _kind(line: str) -> str | None:
    """What a line has in common with those that it may be filled with; None if it stands alone."""
    if comment := _COMMENT.fullmatch(line):
        return comment["indent"] + "#"
    is_prose = " " in line and not line.startswith(" ") and not line.endswith(":") and not _is_key(line)
    return "prose" if is_prose else None


def _is_key(line: str) -> bool:
    return bool(_KEY.fullmatch(line) or _GROUP.fullmatch(line) or re.match(r"[\w.-]+: *\S*$|usage:", line))


def _wrap(paragraph: list[str], width: int) -> list[str]:
    if all(len(line) <= width for line in paragraph):
        return paragraph
    line = " ".join([paragraph[0], *(_text(other) for other in paragraph[1:])])
    if example := _EXAMPLE.fullmatch(line):
        return [f"  {example['command']}", *_fill(example["description"], width, " " * 6, " " * 6)]
    if comment := _COMMENT.fullmatch(line):
        prefix = comment["indent"] + "# "
        return _fill(comment["comment"], width, prefix, prefix)
    if key := _KEY.fullmatch(line):
        start = key["key"]
        if len(start) > width // 2:  # no space beside a long value
            prefix = f"{start[: len(start) - len(start.lstrip())]}# "
            return [*_fill(key["comment"], width, prefix, prefix), start.rstrip()]
        return _fill(key["comment"], width, f"{start}# ", f"{' ' * len(start)}# ")
    if _GROUP.fullmatch(line):
        return _fill(line, width, "", " " * 4)
    if description := _DESCRIPTION.fullmatch(line):
        return _fill(line.strip(), width, description["indent"], description["indent"])
    return _fill(line, width, "", "") if _kind(line) == "prose" else [line]


def _text(line: str) -> str:
    comment = _COMMENT.fullmatch(line)
    return comment["comment"] if comment else line.strip()


def _fill(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
