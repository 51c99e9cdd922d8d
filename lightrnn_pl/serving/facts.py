"""What there is to know of a model at a glance: what it is made of, how large it is, how well it does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lightrnn_pl.allocation.growth import empty_cells
from lightrnn_pl.checkpoint import Bundle, file_hash


def model_facts(bundle: Bundle, path: str | Path) -> dict[str, Any]:
    """The facts of a bundle, in plain types.

    The perplexities are those that the run noted beside its bundle, where the note is of this very file; else that of
    validation, if the bundle itself knows it.

    Args:
        bundle: The model.
        path: The file, or the exported folder, that it was read from.
    """
    path = Path(path)
    model, allocation, vocabulary = bundle.model, bundle.model.allocation, bundle.vocabulary
    table = None
    if allocation.num_components > 1:
        table = {
            "sides": list(allocation.sides),
            "empty_cells": int(empty_cells(allocation).sum()),
            "fingerprint": allocation.fingerprint(),
        }
    noted = _noted(path)
    valid = noted.get("validation")
    if valid is None and "valid_nll" in bundle.metrics:
        valid = math.exp(bundle.metrics["valid_nll"])
    return {
        "name": noted.get("name") or (path if path.is_dir() else path.parent).resolve().name,
        "corpus": bundle.protocol.get("corpus"),
        "vocabulary": len(vocabulary),
        "tokens": bundle.protocol.get("tokens", {}).get("train"),
        "unknown": vocabulary.unknown,
        "end": vocabulary.end,
        "codes": allocation.num_components,
        "table": table,
        "parts": {
            "embedding": type(model.embedding).__name__,
            "core": type(model.core).__name__,
            "output": type(model.output).__name__,
        },
        "hidden_dim": model.core.hidden_dim,
        "parameters": model.num_parameters,
        "bytes": sum(model.num_bytes.values()),
        "perplexity": {"validation": valid, "test": noted.get("test")},
    }


def _noted(path: Path) -> dict[str, Any]:
    """Name and perplexities in the ``metrics.json`` beside a bundle, if they are this bundle's."""
    try:
        metrics = json.loads(path.with_name("metrics.json").read_text(encoding="utf-8"))
        if metrics["checkpoint"]["sha256"] != file_hash(path):
            return {}
    except (OSError, ValueError, KeyError, TypeError):  # no note, or another program's
        return {}
    found = {split: metrics.get(split) for split in ("validation", "test")}
    perplexities = {
        split: result["perplexity"] for split, result in found.items() if isinstance(result, dict) and result
    }
    return {"name": metrics.get("name"), **perplexities}
