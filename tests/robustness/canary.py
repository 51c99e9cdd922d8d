"""Detects code that a file runs while it is loaded."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

# Audit hooks cannot be removed, so there is one, which is active only within ``no_code_runs``.
_events: list[str] | None = None
_EVENTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn", "socket.connect")
_WRITE_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.copyfile")


def _record(event: str, args: tuple) -> None:
    if _events is None:
        return
    if event in _EVENTS or event in _WRITE_EVENTS:
        _events.append(f"{event}{args}")
    elif event == "open" and isinstance(args[2], int) and args[2] & 0o3:  # O_WRONLY or O_RDWR
        _events.append(f"open for writing: {args[0]}")
    elif event == "import" and str(args[0]).startswith("attack_"):
        _events.append(f"import {args[0]}")


sys.addaudithook(_record)


@contextlib.contextmanager
def no_code_runs(*paths: Path) -> Iterator[None]:
    """Fail if the block starts a process, connects to a network, writes to a file, or creates one of ``paths``."""
    global _events
    _events = []
    try:
        yield
    finally:
        recorded, _events = _events, None
    assert not recorded, f"loading a file ran code: {recorded}"
    assert not any(path.exists() for path in paths)
