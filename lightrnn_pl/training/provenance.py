"""The code version and the hardware of a run."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

_PACKAGE = Path(__file__).parents[1]


def code_commit() -> str | None:
    """The git commit of this package, with the suffix ``-dirty`` if tracked files differ; None outside a checkout.

    The package must be tracked by the repository: an installed package, like the working directory, may lie inside an
    unrelated one.
    """
    tracked = _git(_PACKAGE, "ls-files", "--error-unmatch", "__init__.py")
    # Excluding all tags leaves the bare commit.
    return None if tracked is None else _git(_PACKAGE, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def machine() -> str:
    """The processor, its number of cores, and the first GPU; never the host name."""
    parts = [f"{_processor()}, {os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name(0))
    return " + ".join(parts)


def _processor() -> str:
    try:  # on Linux, platform.processor() does not return the model name
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
