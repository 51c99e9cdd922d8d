"""Sphinx extension: the configuration and command reference, from the same text as ``--help``.

A page contains ``<!-- options: GROUP -->`` for the options of a group in ``conf``, ``<!-- command: NAME -->`` for the
help of ``lightrnn-NAME``, or ``<!-- keys: NAME -->`` for the keys of the command alone.
"""

from __future__ import annotations

import re
from importlib import resources

from sphinx.application import Sphinx

from lightrnn_pl.cli.config_options import hide_private_options
from lightrnn_pl.cli.help import CONF, documented_option, help_text

_MARKER = re.compile(r"^<!-- (options|command|keys): (\S+) -->$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    hide_private_options()
    app.connect("source-read", _insert)
    return {"parallel_read_safe": True}


def _insert(app: Sphinx, page: str, source: list[str]) -> None:
    render = {"options": options_of, "command": help_of, "keys": keys_of}
    source[0] = _MARKER.sub(lambda match: render[match[1]](match[2]), source[0])


def options_of(group: str) -> str:
    """The options of a group as Markdown, each with its description and its keys."""
    folder = resources.files(CONF).joinpath(*group.split("/"))
    names = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
    parts = []
    for name in names:
        if name.startswith("_"):
            continue
        description, lines = documented_option(folder, name)
        # Experiments are in subfolders of one group.
        option = re.sub(r"^experiment/(.*)=", r"experiment=\1/", f"{group}={name}")
        parts += [f"### `{option}`", description, *([_yaml(lines)] if lines else [])]
    return "\n\n".join(parts)


def help_of(command: str) -> str:
    """The help of a command, as printed by ``lightrnn-COMMAND --help``."""
    return f"```text\n{help_text(command, []).rstrip()}\n```"


def keys_of(command: str) -> str:
    """The keys of ``conf/COMMAND.yaml`` with their comments, without those of its groups."""
    return _yaml(documented_option(resources.files(CONF), command)[1])


def _yaml(lines: list[str]) -> str:
    return "\n".join(["```yaml", *lines, "```"])
