"""Summary of a model for display: its architecture, its size and its perplexities."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightrnn_pl.allocation.new_word_cells import empty_cells
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.files import file_hash
from lightrnn_pl.run_folder import RunFolder


def model_info(bundle: Bundle, path: str | Path) -> dict[str, Any]:
    """Summarize a bundle as JSON-compatible types.

    The perplexities are read from the ``metrics.json`` next to the bundle if it was written for this file.  Otherwise
    only the validation perplexity is available, if the bundle stores it.

    Args:
        bundle: The model.
        path: The bundle file or exported folder from which it was loaded.
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
    recorded = _recorded_metrics(path)
    valid = recorded.get("validation")
    if valid is None and "valid_nll" in bundle.metrics:
        valid = math.exp(bundle.metrics["valid_nll"])
    return {
        "name": recorded.get("name") or (path if path.is_dir() else path.parent).resolve().name,
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
        "perplexity": {"validation": valid, "test": recorded.get("test")},
    }


def _recorded_metrics(path: Path) -> dict[str, Any]:
    """Run name and perplexities from the ``metrics.json`` next to a bundle; empty if they belong to another file."""
    try:
        metrics = RunFolder(path.parent).read_metrics()
        if metrics["checkpoint"]["sha256"] != file_hash(path):
            return {}
    except (OSError, ValueError, KeyError, TypeError):  # missing, or not written by this package
        return {}
    results = {split: metrics.get(split) for split in ("validation", "test")}
    perplexities = {
        split: result["perplexity"] for split, result in results.items() if isinstance(result, dict) and result
    }
    return {"name": metrics.get("name"), **perplexities}
