"""Output folders that appear only once they are complete, and that replace only earlier exports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lightrnn_pl.files import temporary_folder
from lightrnn_pl.model_folder import CONFIG, MODEL_TYPE


@contextmanager
def new_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that is renamed to ``path`` if the block ends without an error.

    Raises:
        ValueError: If ``path`` exists and must not be replaced.
        OSError: If the parent folder is not writable; the message contains the path and the remedy.
    """
    path = Path(path)
    check_free(path, overwrite)
    with temporary_folder(path) as new:
        yield new
        check_free(path, overwrite)
        if path.exists():
            path.rename(new.with_name("old"))
        new.rename(path)


def check_free(path: Path, overwrite: bool) -> None:
    """Check that an export may be written to ``path``.

    Raises:
        ValueError: If ``path`` exists, unless ``overwrite`` is true and it is an earlier export.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise ValueError(f"output={path} already exists; pass another folder, or overwrite=true")
    if path.is_symlink() or not _is_export(path):
        raise ValueError(f"output={path} is not a lightrnn_pl export, so it is not overwritten; pass another folder")


def folder_bytes(folder: Path) -> dict[str, int]:
    """The size of each file in bytes."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def device_bytes(sizes: Mapping[str, int]) -> dict[str, int]:
    """The bytes that an app needs with each client: those of all files but ``README.md`` and the other clients.

    Args:
        sizes: File name -> bytes.

    Returns:
        Client -> bytes; empty if the export has no clients.
    """
    clients = {name for name in sizes if name.startswith("client.")}
    return {
        client: sum(size for name, size in sizes.items() if name == client or name not in {"README.md", *clients})
        for client in sorted(clients)
    }


def _is_export(path: Path) -> bool:
    if path.is_dir() and not any(path.iterdir()):
        return True
    known = [("metadata.json", "format", f"lightrnn_pl {kind}") for kind in ("onnx", "sherpa_onnx")]
    for name, key, value in (*known, (CONFIG, "model_type", MODEL_TYPE)):
        try:
            if json.loads((path / name).read_text(encoding="utf-8")).get(key) == value:
                return True
        except (OSError, ValueError, AttributeError):
            continue
    return False
