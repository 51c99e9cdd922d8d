"""The installed commands."""

import subprocess
import sys
from pathlib import Path


def script(name: str) -> str:
    """The path of ``lightrnn-name`` in the environment of the tests."""
    return str(Path(sys.executable).with_name(f"lightrnn-{name}"))


def heavy_imports(name: str, *arguments: str, packages: tuple[str, ...] = ("torch",)) -> str:
    """Python code that runs ``lightrnn-name`` and prints which of ``packages`` were imported when it ends."""
    return (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('HEAVY', sorted({set(packages)!r} & set(sys.modules))))\n"
        f"sys.argv = ['lightrnn-{name}', *{arguments!r}]\n"
        f"from lightrnn_pl.cli.entry_points import {name}\n{name}()\n"
    )


def imports_of(name: str, arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process that prints the heavy packages it has imported."""
    script = heavy_imports(name, *arguments, packages=("torch", "pytorch_lightning", "wandb"))
    return subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
