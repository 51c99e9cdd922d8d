"""The formats of ``lightrnn-export``: each is written, read back and compared with the trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.checks import drawn_words, first_words, largest_difference, onnx_perplexity
from lightrnn_pl.export.onnx_client import OnnxModel
from lightrnn_pl.export.onnx_writer import write_onnx

AGREEMENT = 1e-4
"""Natural-log probabilities of ONNX graphs that differ by more are an error, not rounding."""

AGREEMENT_OF_8_BITS = 3.0
"""The same where weights have 8 bits: of a single word or code; the perplexity measures their total effect."""


@dataclass(frozen=True)
class Validation:
    """A text to measure on: its batches, of no more than so many words, and what it is called."""

    batches: Iterable[Batch]
    title: str
    most: int | None

    def __iter__(self) -> Any:
        return first_words(self.batches, self.most)


def _safetensors(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    again, _ = write_bundle(bundle, folder)
    return {"agreement": "read back: every bit the same", **_both(bundle, again, validation)}


def _int8(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    again, change = write_bundle(bundle, folder, eight_bits=True)
    told = f"read back: every bit as packed; the largest change of a weight is {change:.2g}"
    return {"agreement": told, "largest_change": change, **_both(bundle, again, validation)}


def _onnx(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    return _graphs(bundle, folder, config, validation, eight_bits=False)


def _onnx_int8(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    return _graphs(bundle, folder, config, validation, eight_bits=True)


def _graphs(
    bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None, eight_bits: bool
) -> dict[str, Any]:
    metadata = write_onnx(bundle, folder, config.largest_table * 2**20, eight_bits)
    client = OnnxModel(folder)
    words, text = _words_to_check(bundle, validation, config.check_words)
    difference = largest_difference(bundle, client, words)
    most = AGREEMENT_OF_8_BITS if eight_bits else AGREEMENT
    # Not a number is no agreement either.
    if not difference.of_any <= most or not difference.of_text <= most:
        raise ValueError(
            f"log-probabilities of the ONNX graphs differ from PyTorch's by up to {difference.of_any:.2g}, more than "
            f"{most:g}; nothing was exported. Try other versions of torch, onnx or onnxruntime"
        )
    told = (
        f"run along {len(words)} words of {text}: their log-probabilities differ by {difference.of_text:.1e} at most, "
        f"those of all other words or codes by {difference.of_any:.1e}"
    )
    report = {
        "agreement": told,
        "largest_difference": difference._asdict(),
        "words_checked": len(words),
        "written_out_bytes": metadata["written_out_bytes"],
    }
    if validation is not None:
        report["perplexity"] = _compared(bundle, validation, onnx_perplexity(client, validation))
    return report


FORMATS: dict[str, Callable[[Bundle, Path, DictConfig, Validation | None], dict[str, Any]]] = {
    "safetensors": _safetensors,
    "int8": _int8,
    "onnx": _onnx,
    "onnx_int8": _onnx_int8,
}
"""By the name of each format, the function that writes it, compares it with the trained model and reports the result.
A new format is a function here."""


def _both(bundle: Bundle, again: Bundle, validation: Validation | None) -> dict[str, Any]:
    if validation is None:
        return {}
    after = measure_perplexity(again.model, validation, again.vocabulary, torch.device("cpu"))
    return {"perplexity": _compared(bundle, validation, after.perplexity)}


def _compared(bundle: Bundle, validation: Validation, after: float) -> dict[str, Any]:
    before = measure_perplexity(bundle.model, validation, bundle.vocabulary, torch.device("cpu"))
    return {
        "text": f"{validation.title}, {before.tokens:,} words",
        "before": before.perplexity,
        "after": after,
        "change": after / before.perplexity - 1,
    }


def _words_to_check(bundle: Bundle, validation: Validation | None, number: int) -> tuple[list[int], str]:
    """The beginning of the first stream of the validation text, or words drawn at random."""
    words: list[int] = []
    for batch in validation or ():
        words += batch[1][0][batch[2][0]].tolist()
        if len(words) >= number:
            break
    if validation is None or not words:
        return drawn_words(bundle, number), "made-up text (words drawn by frequency)"
    return words[:number], validation.title
