"""The formats of ``lightrnn-export``: each is written, read back and compared with the trained model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.evaluation.progress import with_progress
from lightrnn_pl.export.bundle_writer import write_bundle
from lightrnn_pl.export.checks import compare_steps, first_words, random_words, steps_perplexity
from lightrnn_pl.export.executorch_writer import ExecuTorchModel, write_executorch
from lightrnn_pl.export.onnx_client import OnnxModel
from lightrnn_pl.export.onnx_writer import write_onnx
from lightrnn_pl.export.sherpa_onnx_writer import compare_sentences, write_sherpa_onnx

TOLERANCE = 1e-4
"""Maximum rounding difference of natural-log probabilities of words or sentences between exported steps and PyTorch."""


@dataclass(frozen=True)
class Validation:
    """A text on which perplexity is measured.

    Attributes:
        batches: The batches of the text.
        title: The name of the text in the report.
        max_words: Read whole batches until there are this many words; None to read all.
    """

    batches: Iterable[Batch]
    title: str
    max_words: int | None

    def __iter__(self) -> Any:
        batches = first_words(self.batches, self.max_words)
        return with_progress(batches, Console(stderr=True), f"batches of {self.title}")


def _safetensors(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    loaded, _ = write_bundle(bundle, folder)
    return {"agreement": "verified: all weights are bit-identical", **_perplexities(bundle, loaded, validation)}


def _int8(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    loaded, change = write_bundle(bundle, folder, eight_bits=True)
    agreement = f"verified: all weights are as quantized; the largest change of a weight is {change:.2g}"
    return {"agreement": agreement, "largest_change": change, **_perplexities(bundle, loaded, validation)}


def _onnx(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    write_onnx(bundle, folder, config.largest_table * 2**20)
    return _verify_steps(bundle, OnnxModel(folder), config, validation)


def _onnx_int8(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    write_onnx(bundle, folder, config.largest_table * 2**20, eight_bits=True)
    return _verify_steps(bundle, OnnxModel(folder), config, validation, eight_bits=True)


def _executorch(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    with Console(stderr=True).status("compiling the steps"):
        write_executorch(bundle, folder, config.largest_table * 2**20)
    return _verify_steps(bundle, ExecuTorchModel(folder), config, validation)


def _verify_steps(
    bundle: Bundle, client: OnnxModel, config: DictConfig, validation: Validation | None, eight_bits: bool = False
) -> dict[str, Any]:
    words, text = _words_to_check(bundle, validation, config.check_words)
    difference = compare_steps(bundle, client, words)
    # Rounding to 8 bits changes single log-probabilities by up to some nats, so its effect on perplexity counts.
    limit = math.inf if eight_bits else TOLERANCE
    # Written so that NaN fails the check.
    if not difference.all_codes < limit or not difference.text_words < limit:
        raise ValueError(
            f"log-probabilities of the exported steps differ from PyTorch's by up to {difference.all_codes:.2g} "
            f"(limit: {limit:g}); nothing was exported. Try other versions of torch and of the packages of this format"
        )
    agreement = (
        f"verified on {len(words)} words of {text}: log-probabilities differ by at most {difference.text_words:.1e} "
        f"for these words, and by at most {difference.all_codes:.1e} for all words or codes"
    )
    report = {
        "agreement": agreement,
        "largest_difference": {"of_text": difference.text_words, "of_any": difference.all_codes},
        "words_checked": len(words),
        "written_out_bytes": client.metadata["written_out_bytes"],
    }
    change = difference.perplexity
    if validation is not None:
        report["perplexity"] = _comparison(bundle, validation, steps_perplexity(client, validation))
        change = report["perplexity"]["change"]
    if eight_bits and not change <= config.tolerance:
        raise ValueError(
            f"8-bit weights increase the perplexity of {text} by {change:.1%}, more than tolerance={config.tolerance}; "
            "nothing was exported. Use format=onnx, or pass a larger tolerance"
        )
    return report


def _sherpa_onnx(bundle: Bundle, folder: Path, config: DictConfig, validation: Validation | None) -> dict[str, Any]:
    tokens = write_sherpa_onnx(bundle, folder, config.tokens, config.largest_table * 2**20)
    words, text = _words_to_check(bundle, validation, config.check_words)
    difference = compare_sentences(bundle, folder, tokens, words)
    if not difference.offline < TOLERANCE or not difference.online < TOLERANCE:
        raise ValueError(
            f"the graphs' scores of a sentence differ from PyTorch's by up to {max(difference[:2]):.2g} (limit: "
            f"{TOLERANCE:g}); nothing was exported. Try other versions of torch, onnx or onnxruntime"
        )
    known, number = int(tokens.known.sum()), len(tokens.known)
    return {
        "agreement": f"verified on {difference.sentences} sentences of {text}: scores of a sentence differ by at most "
        f"{difference.offline:.1e} (offline) and {difference.online:.1e} (online). {known:,} of {number:,} tokens are "
        "in the vocabulary; others are scored as the unknown word, except the blank, which is not scored",
        "largest_difference": {"offline": difference.offline, "online": difference.online},
        "words_checked": len(words),
        "tokens": {"number": number, "in_vocabulary": known},
        "not_measured": "format=sherpa_onnx is compared sentence by sentence",
    }


FORMATS: dict[str, Callable[[Bundle, Path, DictConfig, Validation | None], dict[str, Any]]] = {
    "safetensors": _safetensors,
    "int8": _int8,
    "onnx": _onnx,
    "onnx_int8": _onnx_int8,
    "executorch": _executorch,
    "sherpa_onnx": _sherpa_onnx,
}
"""Format -> the function that writes it, verifies it against the trained model, and returns a report.  To add a format,
add a function here."""


def _perplexities(bundle: Bundle, loaded: Bundle, validation: Validation | None) -> dict[str, Any]:
    if validation is None:
        return {}
    after = measure_perplexity(loaded.model, validation, loaded.vocabulary, torch.device("cpu"))
    return {"perplexity": _comparison(bundle, validation, after.perplexity)}


def _comparison(bundle: Bundle, validation: Validation, after: float) -> dict[str, Any]:
    before = measure_perplexity(bundle.model, validation, bundle.vocabulary, torch.device("cpu"))
    return {
        "text": f"{validation.title}, {before.tokens:,} words",
        "before": before.perplexity,
        "after": after,
        "change": after / before.perplexity - 1,
    }


def _words_to_check(bundle: Bundle, validation: Validation | None, number: int) -> tuple[list[int], str]:
    """The first words of the first stream of the validation text, or random words."""
    words: list[int] = []
    for batch in validation or ():
        words += batch[1][0][batch[2][0]].tolist()
        if len(words) >= number:
            break
    if validation is None or not words:
        return random_words(bundle, number), "random text (words drawn by frequency)"
    return words[:number], validation.title
