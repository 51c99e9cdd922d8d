"""The table of commands.

``lightrnn-NAME`` composes ``conf/NAME.yaml`` and passes it to the function ``NAME`` in
``lightrnn_pl/commands/NAME.py``.  That module is imported only when the command runs, so that ``--help`` and ``--cfg``
do not import torch.  A new command needs these two files, a line below, and an entry under ``[project.scripts]`` in
``pyproject.toml``.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any

import hydra
from omegaconf import DictConfig

from lightrnn_pl.cli.composition_errors import explain_composition_errors
from lightrnn_pl.cli.config_options import (
    CONF,
    check_added_keys,
    check_choices,
    hide_private_options,
    without_null_options,
)
from lightrnn_pl.cli.errors import one_line_errors, output_is_closed
from lightrnn_pl.cli.help import help_text
from lightrnn_pl.cli.help_wrapping import wrap_help
from lightrnn_pl.cli.hydra_arguments import folders_as_overrides, with_quoted_text
from lightrnn_pl.cli.sweep import as_sweep_job, is_first_process, sweep_report
from lightrnn_pl.commands.override_values import with_quoted_values


def _hydra_command(
    name: str,
    rewrite: Callable[[Sequence[str]], list[str]] = list,
    wrapper: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
) -> Callable[[], Any]:
    """The entry point of a command, whose arguments ``rewrite`` brings into Hydra's grammar."""

    def run(config: DictConfig) -> Any:
        check_choices()
        check_added_keys(name)
        if sys.stderr.isatty() and is_first_process():
            print("loading PyTorch", file=sys.stderr, flush=True)  # which takes seconds
        return getattr(import_module(f"lightrnn_pl.commands.{name}"), name)(config)

    run.__module__ = f"lightrnn_pl.commands.{name}"  # Hydra names the job, and its log file, after the module
    command = one_line_errors(wrapper(run) if wrapper else run)
    main = hydra.main(version_base="1.3", config_path=f"pkg://{CONF}", config_name=name)(command)

    @functools.wraps(main)
    def entry_point() -> Any:
        hide_private_options()
        try:
            arguments = sys.argv[1:] = with_quoted_values(rewrite(sys.argv[1:]))
            explain_composition_errors(name, arguments)
            if "--version" in arguments:
                print(f"lightrnn_pl {metadata.version('lightrnn_pl')}")
            # With options such as --config-dir, Hydra composes the help.
            elif {"-h", "--help"} & set(arguments) and sum(argument.startswith("-") for argument in arguments) == 1:
                text = help_text(name, [argument for argument in arguments if not argument.startswith("-")])
                print(wrap_help(text, min(shutil.get_terminal_size((120, 24)).columns, 120)))
            else:
                return main()
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except BrokenPipeError:
            if not output_is_closed():
                raise

    return entry_point


_unset_in_train = functools.partial(without_null_options, unset=("experiment", "hparams_search", "debug"))
train = sweep_report(_hydra_command("train", _unset_in_train, wrapper=as_sweep_job))
evaluate = _hydra_command("evaluate", functools.partial(without_null_options, unset=("data",)))
table = _hydra_command("table", with_quoted_text)
generate = _hydra_command("generate", with_quoted_text)
score = _hydra_command("score")
rescore = _hydra_command("rescore")
report = _hydra_command("report", folders_as_overrides)
export = _hydra_command("export")
serve = _hydra_command("serve")
ngram = _hydra_command("ngram", with_quoted_text)
dashboard = _hydra_command("dashboard")
