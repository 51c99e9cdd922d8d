"""The table of commands.

``lightrnn-NAME`` composes ``conf/NAME.yaml`` and passes it to the function ``NAME`` in
``lightrnn_pl/commands/NAME.py``.  That module is imported only when the command runs, so that ``--help`` and ``--cfg``
do not import torch.  A new command needs these two files, a line below, and an entry under ``[project.scripts]`` in
``pyproject.toml``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.errors import one_line_errors
from lightrnn_pl.cli.hydra_arguments import folders_as_overrides, with_quoted_prompt
from lightrnn_pl.cli.sweep import as_sweep_job, sweep_report


def _hydra_command(name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None) -> Any:
    def run(config: DictConfig) -> Any:
        return getattr(import_module(f"lightrnn_pl.commands.{name}"), name)(config)

    run.__module__ = f"lightrnn_pl.commands.{name}"  # Hydra names the job, and its log file, after the module
    command = one_line_errors(wrapper(run) if wrapper else run)
    return hydra.main(version_base="1.3", config_path="pkg://lightrnn_pl.conf", config_name=name)(command)


def _with_arguments(command: Any, rewrite: Callable[[Sequence[str]], list[str]]) -> Any:
    """Wrap a command so that its arguments are first rewritten into Hydra's grammar."""

    @functools.wraps(command)
    def run() -> Any:
        sys.argv[1:] = rewrite(sys.argv[1:])
        return command()

    return run


train = sweep_report(_hydra_command("train", as_sweep_job))
evaluate = _hydra_command("evaluate")
table = _hydra_command("table")
generate = _with_arguments(_hydra_command("generate"), with_quoted_prompt)
score = _hydra_command("score")
rescore = _hydra_command("rescore")
report = _with_arguments(_hydra_command("report"), folders_as_overrides)
export = _hydra_command("export")
serve = _hydra_command("serve")
dashboard = _hydra_command("dashboard")
