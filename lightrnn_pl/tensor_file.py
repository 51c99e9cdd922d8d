"""Reads files written by ``torch.save`` that contain only tensors and plain values."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from lightrnn_pl.checks import one_line


def read_tensors(path: Path) -> Any:
    """The content of a file written by ``torch.save``, with all tensors on the CPU.

    Objects other than tensors and plain values are refused (``weights_only=True``), and the parts of the file must not
    be compressed, so that they are not larger than the file.

    Raises:
        ValueError: If the file is damaged or contains other objects.  The message is one line.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged or not a checkpoint; pass the best.ckpt of a run folder")
    try:
        with zipfile.ZipFile(path) as parts:
            entries = parts.infolist()
            # Compressed or overlapping parts, which torch.save does not write, can be much larger than the file.
            is_compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            if is_compressed or sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("its parts are compressed or overlap")
            if (broken := parts.testzip()) is not None:
                raise ValueError(f"the checksum of {broken} does not match")
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        # PyTorch's message recommends weights_only=False, which would run code from the file.
        raise ValueError(
            f"{path} is damaged or not a checkpoint: it contains objects other than tensors and plain values; do not "
            "load it with other programs unless you trust its source"
        ) from None
    except Exception as error:  # torch.load may raise any exception on arbitrary bytes
        raise ValueError(f"{path} is damaged or not a checkpoint: {one_line(error)}") from error
