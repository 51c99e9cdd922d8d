"""Command-line arguments in a form that Hydra's grammar accepts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightrnn_pl.commands.override_values import quoted

_TAKE_A_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--info", "-i"),
)
"""Hydra's options whose next argument is their value, not a folder."""

_TEXT_KEYS = ("prompt", "prefix", "word")


def with_quoted_text(arguments: Sequence[str]) -> list[str]:
    """The same arguments with ``prompt=TEXT`` quoted, so that commas and quotes in the text need no escaping.

    ``prefix=TEXT`` and ``word=TEXT`` are quoted, too.
    """
    return [_with_quoted_text(argument) for argument in arguments]


def folders_as_overrides(arguments: Sequence[str]) -> list[str]:
    """``FOLDER FOLDER key=value`` as Hydra overrides: ``runs=['FOLDER','FOLDER'] key=value``."""
    folders: list[str] = []
    others: list[str] = []
    for number, argument in enumerate(arguments):
        is_value = number > 0 and arguments[number - 1] in _TAKE_A_VALUE
        key, equals, _ = argument.partition("=")
        # A sweep may create folder names that contain an equals sign, but never before the first slash.
        is_folder = not equals or "/" in key
        (folders if is_folder and not is_value and not argument.startswith("-") else others).append(argument)
    elements = ",".join(map(_quoted_literally, folders))
    return [*([f"runs=[{elements}]"] if folders else []), *others]


def _with_quoted_text(argument: str) -> str:
    """``prompt=l'eau , je`` as a quoted Hydra string; other arguments and quoted values are returned unchanged."""
    key, equals, value = argument.partition("=")
    if key not in _TEXT_KEYS or not equals or value == "null" or re.fullmatch(r"(['\"]).*\1", value, re.DOTALL):
        return argument
    return f"{key}={_quoted_literally(value)}"


def _quoted_literally(text: str) -> str:
    """The text in quotes, without interpolations, which ``${`` starts in OmegaConf."""
    return quoted(text).replace("${", "\\${")
