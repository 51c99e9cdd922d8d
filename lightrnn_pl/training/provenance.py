"""Which code a run is made by."""

from __future__ import annotations

import subprocess
from pathlib import Path

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


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
