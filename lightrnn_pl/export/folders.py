"""An export's folder appears as a whole or not at all, and replaces nothing but an older export."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightrnn_pl.files import explain_unwritable
from lightrnn_pl.model_folder import CONFIG, MODEL_TYPE


@contextmanager
def new_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``path`` that is moved there once the block ended without an error.

    Raises:
        ValueError: If something is at ``path`` already, and it may not be replaced or is no export.
        OSError: With the path and the remedy, where nothing can be written there.
    """
    path = Path(path)
    check_free(path, overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        around = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    except OSError as error:
        raise explain_unwritable(error, path) from error
    try:
        # mkdtemp's own folder is for its owner alone.
        made = around / "new"
        made.mkdir()
        yield made
        check_free(path, overwrite)
        if path.exists():
            path.rename(around / "old")
        made.rename(path)
    except OSError as error:
        raise explain_unwritable(error, path) from error
    finally:
        shutil.rmtree(around, ignore_errors=True)


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse a place that an export may not take; see ``new_folder``."""
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise ValueError(f"output={path} is there already; give another folder, or overwrite=true")
    if path.is_symlink() or not _is_export(path):
        raise ValueError(f"output={path} is no export of lightrnn_pl, and is not overwritten; give another folder")


def folder_bytes(folder: Path) -> dict[str, int]:
    """Bytes of each file."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def _is_export(path: Path) -> bool:
    if path.is_dir() and not any(path.iterdir()):
        return True
    for name, key, value in ((CONFIG, "model_type", MODEL_TYPE), ("metadata.json", "format", "lightrnn_pl onnx")):
        try:
            if json.loads((path / name).read_text(encoding="utf-8")).get(key) == value:
                return True
        except (OSError, ValueError, AttributeError):
            continue
    return False
