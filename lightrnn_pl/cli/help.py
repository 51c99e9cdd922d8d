"""The text that ``--help`` prints: usage, groups, and every key with the comment of its YAML file.

Hydra's own help prints the composed configuration, which has no comments.
"""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType

from lightrnn_pl.cli.config_options import CONF

_HIDDEN_BLOCKS = ("defaults", "hydra")
_HIDDEN_KEYS = ("_target_", "_partial_")
_KEY = re.compile(r"(?P<indent> *)(?P<key>\w+):")
_SCALAR = re.compile(r" *(?P<key>\w+): (?P<value>[^#]*[^#\s])\s*(?P<comment>#.*)?$")


def help_text(name: str, overrides: Sequence[str]) -> str:
    """The help of ``lightrnn-NAME``, with the keys of the options that ``overrides`` select."""
    with initialize_config_module(CONF, version_base="1.3"):
        config = compose(name, list(overrides), return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        groups = "".join(f"{group}: {', '.join(options)}\n" for group, options in group_options(loader))
    template = string.Template(config.hydra.help.template)
    keys = "\n".join(_sections(name, config.hydra.runtime.choices))
    return template.safe_substitute(APP_CONFIG_GROUPS=groups, CONFIG=keys)


def group_options(loader: ConfigLoader, parent: str = "") -> Iterator[tuple[str, list[str]]]:
    """The groups in and below ``parent`` with their options, except Hydra's own."""
    for name in loader.get_group_options(parent, results_filter=ObjectType.GROUP):
        group = f"{parent}/{name}" if parent else name
        if group == "hydra":
            continue
        if options := loader.get_group_options(group, results_filter=ObjectType.CONFIG):
            yield group, options
        yield from group_options(loader, group)


def _sections(name: str, choices: dict[str, Any]) -> Iterator[str]:
    """The keys of the command itself, then those of each chosen option."""
    root = resources.files(CONF)
    yield "\n".join(_documented_keys((root / f"{name}.yaml").read_text(encoding="utf-8"))[1])
    for group, option in sorted(choices.items()):
        if group.startswith("hydra") or not isinstance(option, str):
            continue
        place = group.rpartition("@")[2].replace("/", ".")
        folder = root.joinpath(*group.partition("@")[0].split("/"))
        if not folder.joinpath(f"{option}.yaml").is_file():
            continue  # defined by the user
        description, lines = documented_option(folder, option)
        if lines:
            yield f"\n{place}:  ({group}={option})"
            yield from textwrap.wrap(description, 120, initial_indent="  # ", subsequent_indent="  # ")
            yield from (f"  {line}".rstrip() for line in lines)


def documented_option(folder: Traversable, option: str) -> tuple[str, list[str]]:
    """The description of an option, and its keys after those of the options that it extends."""
    text = folder.joinpath(f"{option}.yaml").read_text(encoding="utf-8")
    description, lines = _documented_keys(text)
    inherited: list[str] = []
    for base in (yaml.safe_load(text) or {}).get("defaults", ()):
        path = folder.joinpath(f"{base}.yaml") if isinstance(base, str) else None
        # Parts of the configuration that are built from other keys have a package of their own.
        if path is not None and path.is_file() and not path.read_text(encoding="utf-8").startswith("# @package"):
            inherited += documented_option(folder, base)[1]
    return description, _merged(inherited, lines)


def _merged(inherited: list[str], lines: list[str]) -> list[str]:
    """The lines of both; a key with a single value is listed once, with its inherited comment."""
    known, own = _key_paths(inherited), _key_paths(lines)
    values = {
        path: line
        for path, line in zip(own, lines, strict=True)
        if path in known and (match := _SCALAR.match(line)) and not match["comment"]
    }
    merged = []
    for path, line in zip(known, inherited, strict=True):
        match = _SCALAR.match(line)
        if match and path in values:
            line = f"{values[path].rstrip()} {match['comment'] or ''}".rstrip()
        merged.append(line)
    rest = [(path, line) for path, line in zip(own, lines, strict=True) if path not in values]
    # A block whose keys have all been listed is left out as well.
    parents = {path[:depth] for path, _ in rest for depth in range(1, len(path))}
    listed = {path[:depth] for path in values for depth in range(1, len(path))} - parents
    return [*merged, *(line for path, line in rest if path not in listed)]


def _key_paths(lines: list[str]) -> list[tuple[str, ...]]:
    """The key of each line with those of the blocks around it; empty for comments and other lines."""
    paths: list[tuple[str, ...]] = []
    blocks: list[tuple[int, str]] = []
    for line in lines:
        match = _KEY.match(line)
        if match is None:
            paths.append(())
            continue
        blocks = [(indent, key) for indent, key in blocks if indent < len(match["indent"])]
        blocks.append((len(match["indent"]), match["key"]))
        paths.append(tuple(key for _, key in blocks))
    return paths


def _documented_keys(text: str) -> tuple[str, list[str]]:
    """The comment at the beginning of a YAML file, and the lines with its keys and their comments."""
    comment: list[str] = []
    lines: list[str] = []
    is_hidden = False
    for line in text.splitlines():
        key = line.partition(":")[0]
        if line.startswith("#") and not lines and not is_hidden:
            if not line.startswith("# @package"):
                comment.append(line.removeprefix("#").strip())
            continue
        if line and not line.startswith((" ", "#")):
            is_hidden = key in _HIDDEN_BLOCKS
        if not is_hidden and key.strip() not in _HIDDEN_KEYS and line.strip() != "{}" and (line or lines):
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return " ".join(comment), lines
