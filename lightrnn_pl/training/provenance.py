"""Which code a run is made by, and on what machine."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

import lightrnn_pl


def code_commit() -> str | None:
    """The git commit of this package's code, ``-dirty`` behind it where tracked files differ; None outside a checkout.

    The folder that a command is started in may be another repository, and so may the one around an installed
    package; neither's commit says anything of this code.
    """
    package = Path(lightrnn_pl.__file__).parent
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    # No tag matches, so that what is left is the commit alone.
    return None if tracked is None else _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def machine() -> str:
    """The processor with its number of cores, and the first GPU; no name of the machine itself."""
    parts = [f"{_processor()}, {os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name(0))
    return " + ".join(parts)


def _processor() -> str:
    """Linux reports the processor's name in a file only."""
    try:
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
