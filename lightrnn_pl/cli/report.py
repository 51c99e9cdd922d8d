"""``lightrnn-report``: what runs have come to, beside the papers' figures.

Folders may be given as they are, as with other commands of a shell, or as ``runs=[FOLDER,...]``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import explained

_TAKE_A_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--info", "-i"),
)
"""Hydra's options that are followed by something that is no folder."""


def main() -> None:
    """The command."""
    sys.argv[1:] = as_overrides(sys.argv[1:])
    run()


def as_overrides(arguments: Sequence[str]) -> list[str]:
    """``FOLDER FOLDER key=value`` as Hydra reads it: ``runs=['FOLDER','FOLDER'] key=value``."""
    folders: list[str] = []
    others: list[str] = []
    for number, argument in enumerate(arguments):
        is_value = number > 0 and arguments[number - 1] in _TAKE_A_VALUE
        key, equals, _ = argument.partition("=")
        # A sweep may have put an equals sign into a folder's name, but never before its first slash.
        is_folder = not equals or "/" in key
        (folders if is_folder and not is_value and not argument.startswith("-") else others).append(argument)
    quoted = ",".join("'{}'".format(folder.replace("'", "\\'").replace("${", "\\${")) for folder in folders)
    return [*([f"runs=[{quoted}]"] if folders else []), *others]


@hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name="report")
@explained
def run(config: DictConfig) -> None:
    """Report on ``config.runs``."""
    from lightrnn_pl.reporting.command import report

    report(config)


if __name__ == "__main__":
    main()
