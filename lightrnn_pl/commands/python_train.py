"""``lightrnn_pl.train``: the command ``lightrnn-train`` as a function."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import flag_override

from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.commands import train as command
from lightrnn_pl.commands.override_values import with_quoted_values
from lightrnn_pl.run_folder import RunFolder


def train(overrides: Sequence[str] = (), run_dir: str | Path | None = None) -> Bundle:
    """Train a model as ``lightrnn-train`` does, and load the best one.

    The progress that the command prints is printed too, or is logged if logging has been configured.

    Args:
        overrides: Overrides of the configuration, such as ``model=slim`` or ``model.hidden_dim=400``.
        run_dir: The run folder; an interrupted run in it is resumed.  None selects a new folder in ``outputs``.

    Raises:
        ValueError, FileNotFoundError: For invalid input, before training starts.
    """
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        config = compose("train", with_quoted_values(overrides), return_hydra_config=True)
    hydra = HydraConfig.instance()
    hydra.set_config(config)
    try:
        folder = RunFolder(Path(config.hydra.run.dir if run_dir is None else run_dir).absolute())
        recorded: Any = hydra.cfg
        with flag_override(recorded.hydra, "readonly", False):
            recorded.hydra.runtime.output_dir = str(folder.path)
            if run_dir is not None:
                recorded.hydra.run.dir = str(folder.path)
        with flag_override(config, ["readonly", "struct"], False):
            del config["hydra"]
        if config.get("sizes_only"):
            raise ValueError("debug=size does not train; use the command lightrnn-train debug=size")
        with _printed_log():
            command.train(config)
    finally:
        hydra.cfg = None
    return load(folder.best)


@contextlib.contextmanager
def _printed_log() -> Iterator[None]:
    """Print the log of this package as the command does, unless the caller has configured logging."""
    logger = logging.getLogger("lightrnn_pl")
    if logger.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(sys.stdout), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
