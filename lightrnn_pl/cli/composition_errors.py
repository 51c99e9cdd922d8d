"""Errors that Hydra finds before a command starts, in one line.

For errors in overrides, Hydra prints several lines, and suggests to add a misspelled key with ``+``; here, the message
contains the name that was probably meant.  Hydra also creates the folder of a run and writes to it, and reports errors
such as a full disk with a traceback.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra._internal import utils as hydra_utils
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf

from lightrnn_pl.cli.config_options import CONF
from lightrnn_pl.cli.errors import one_line
from lightrnn_pl.cli.help import group_options
from lightrnn_pl.files import explain_unwritable

_run_and_report = hydra_utils.run_and_report


def explain_composition_errors(name: str, arguments: Sequence[str]) -> None:
    """Make Hydra report errors in the overrides and in the run folder of ``lightrnn-NAME`` in one line, with status 2.

    Args:
        name: The name of the command, without its prefix.
        arguments: Its command-line arguments.
    """

    def run_and_report(func: Any) -> Any:
        def run() -> Any:
            try:
                return func()
            except (ConfigCompositionException, OverrideParseException, OSError) as error:
                if os.environ.get("HYDRA_FULL_ERROR") == "1" or isinstance(error, BrokenPipeError):
                    raise
                if isinstance(error, HydraException):  # some of these are also an OSError
                    message = explanation(error, name, arguments)
                else:
                    message = _folder_error(error)
                print(f"error: {message}", file=sys.stderr)
                sys.exit(2)

        return _run_and_report(run)

    hydra_utils.run_and_report = run_and_report


def _folder_error(error: OSError) -> str:
    is_explained = error.errno is not None and error.strerror != os.strerror(error.errno)
    return one_line(error if is_explained else explain_unwritable(error, error.filename or "the run folder"))


def explanation(error: HydraException, name: str, arguments: Sequence[str]) -> str:
    """What is wrong with the overrides, in one line."""
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override} is not of the form key=value; --help lists all keys"
        key, _, value = error.override.partition("=")
        return f"the value of {error.override} cannot be read; quote it twice, as in {key}=\"'{value}'\""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        options = dict(_groups()).get(group, [])
        listed = f"use {', '.join(options)}" if options else "--help lists all groups"
        key, _, prefix = group.partition("/") if group.startswith("experiment/") else (group, "", "")
        return f"{key}={prefix and prefix + '/'}{option} is not an option; {_meant(option, options)}{listed}"
    if match := re.match(r"Could not override '([^']+)'", str(error)):
        keys = [*_keys(name, arguments), *(group for group, _ in _groups())]
        return f"{match[1]} is not a key of the configuration; {_meant_key(match[1], keys)}--help lists all keys"
    return " ".join(str(error).split())


def _meant(word: str, candidates: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f"did you mean {close[0]}? " if close else ""


def _meant_key(key: str, keys: Sequence[str]) -> str:
    """As :func:`_meant`, for a key whose last part is more likely right than the groups before it."""
    name = _last_part(key)
    names = difflib.get_close_matches(name, {_last_part(other) for other in keys}, n=1, cutoff=0.6)
    close = difflib.get_close_matches(key, [other for other in keys if _last_part(other) in names], n=1, cutoff=0.0)
    return _meant(close[0], close) if close else ""


def _last_part(key: str) -> str:
    return key.rpartition(".")[2]


def _groups() -> list[tuple[str, list[str]]]:
    with _initialized():
        return list(group_options(GlobalHydra.instance().config_loader()))


def _keys(name: str, arguments: Sequence[str]) -> list[str]:
    """All keys of the configuration, with the options that the arguments select."""
    groups = {group for group, _ in _groups()}
    selected = [argument for argument in arguments if argument.partition("=")[0] in groups]
    with _initialized():
        for overrides in (selected, []):
            try:
                return list(_leaves(OmegaConf.to_container(compose(name, overrides), resolve=False)))
            except HydraException:
                continue
    return []


def _leaves(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")


def _initialized() -> Any:
    GlobalHydra.instance().clear()  # the command ends after the error
    return initialize_config_module(CONF, version_base="1.3")
