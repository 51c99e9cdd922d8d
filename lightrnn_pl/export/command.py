"""What ``lightrnn-export`` does: write, read back, hold against the trained model, and only then move into place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.building import as_plain, instantiate
from lightrnn_pl.checkpoint import Bundle, load, named_checkpoint
from lightrnn_pl.checks import check_count, check_flag
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.export.card import model_card
from lightrnn_pl.export.checks import (
    drawn_words,
    first_words,
    largest_difference,
    onnx_perplexity,
    require_same_bundle,
)
from lightrnn_pl.export.folders import check_free, folder_bytes, new_folder
from lightrnn_pl.export.onnx_client import OnnxModel
from lightrnn_pl.export.onnx_writer import write_onnx
from lightrnn_pl.files import atomic_write, write_json
from lightrnn_pl.inference.lines import require_file
from lightrnn_pl.model_folder import write_model_folder
from lightrnn_pl.packing import pack_state, unpack_state

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


def export(config: DictConfig) -> dict[str, Any]:
    """Export ``config.checkpoint`` to the folder ``config.output``, print what came of it, and return that.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: Naming the key, for what cannot be exported, or where what was written is not the trained model.
    """
    write = _FORMATS.get(config.format)
    if write is None:
        raise ValueError(f"format={config.format} is none of {', '.join(_FORMATS)}")
    named_checkpoint(config.checkpoint)
    if not config.output:
        raise ValueError(f"output={config.output} is not a folder; output must name a folder that does not exist yet")
    for name in ("check_words", "largest_table"):
        check_count(name, config[name])
    if config.words is not None:
        check_count("words", config.words)
    check_flag("overwrite", config.overwrite)
    output = Path(config.output)
    check_free(output, config.overwrite)
    bundle = load(config.checkpoint)
    validation, why_not = _validation(config, bundle)
    with new_folder(output, config.overwrite) as folder:
        report = {"checkpoint": str(config.checkpoint), "output": str(output), "format": config.format}
        report |= write(bundle, folder, config, validation)
        if why_not:
            report["not_measured"] = why_not
        with atomic_write(folder / "README.md", "w") as file:
            file.write(model_card(bundle, config.format, report))
        report["bytes"] = folder_bytes(folder)
        report["total_bytes"] = sum(report["bytes"].values())
        report["checkpoint_bytes"] = _bytes_of(Path(config.checkpoint))
    if config.json:
        write_json(config.json, report)
    _print(report)
    return report


def write_bundle(bundle: Bundle, folder: Path, eight_bits: bool = False) -> tuple[Bundle, float]:
    """Write a bundle's parts into a folder that is there, and read them back.

    Args:
        bundle: The model.
        folder: Where to.
        eight_bits: Whether weights are packed into 8 bits.

    Returns:
        The bundle that was read back, and the largest change of any weight.

    Raises:
        ValueError: If it is not the one that was written.
    """
    stored, recipe = pack_state(bundle.content()["state"], eight_bits)
    meant = bundle
    if eight_bits:
        # What is stored is another model, whose fingerprint travels with it.
        model = copy.deepcopy(bundle.model).cpu()
        model.load_state_dict(unpack_state(stored, recipe))
        meant = replace(bundle, model=model.eval())
    write_model_folder(folder, meant.content(), stored, recipe)
    again = load(folder)
    require_same_bundle(meant, again)
    after = again.model.state_dict()
    changes = [
        float((tensor.detach().cpu() - after[name]).abs().max())
        for name, tensor in bundle.model.state_dict().items()
        if tensor.is_floating_point() and tensor.numel()
    ]
    return again, max(changes, default=0.0)


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


_FORMATS: dict[str, Callable[[Bundle, Path, DictConfig, Validation | None], dict[str, Any]]] = {
    "safetensors": _safetensors,
    "int8": _int8,
    "onnx": _onnx,
    "onnx_int8": _onnx_int8,
}


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


def _validation(config: DictConfig, bundle: Bundle) -> tuple[Validation | None, str]:
    """The text to measure on; or None, and why there is none."""
    if config.valid is None:
        return None, "no text was asked for (valid=null)"
    own = as_plain(bundle.config)["data"] if "data" in bundle.config else None
    if config.valid != "own":
        require_file("valid", config.valid)
        reading = ("batching", "sequence_length", "eval_batch_size")
        as_trained = {} if own is None else {key: own[key] for key in reading}
        files = {"_target_": "lightrnn_pl.data.datamodule.CorpusDataModule.from_text", "train": None}
        source = {**files, "test": str(config.valid), "name": Path(config.valid).name, **as_trained}
        loader = instantiate(source).loader_for(bundle.vocabulary, "test")
        return Validation(loader, Path(config.valid).name, config.words), ""
    if own is None:
        return None, "the model has no corpus in its configuration; pass a text with valid="
    try:
        loader = instantiate(own).loader_for(bundle.vocabulary, "valid")
    except (OSError, ValueError) as error:
        return None, f"the text the model was trained with is not at hand: {error}; give another with valid="
    return Validation(loader, "its validation text", config.words), ""


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


def _bytes_of(path: Path) -> int:
    if (path / "best.ckpt").is_file():
        path = path / "best.ckpt"
    return path.stat().st_size if path.is_file() else sum(folder_bytes(path).values())


def _print(report: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"{report['output']} ({report['format']})", title_justify="left")
    table.add_column("file")
    table.add_column("bytes", justify="right")
    for name, size in report["bytes"].items():
        table.add_row(name, f"{size:,}")
    table.add_row("together", f"{report['total_bytes']:,}", style="bold")
    table.add_row("the checkpoint", f"{report['checkpoint_bytes']:,}")
    console.print(table)
    for what, size in report.get("written_out_bytes", {}).items():
        console.print(Text(f"written out as a table: {what}, {size:,} bytes"))
    console.print(Text(report["agreement"]))
    if "perplexity" in report:
        found = report["perplexity"]
        console.print(
            Text(
                f"perplexity on {found['text']}: {found['before']:.2f} before, {found['after']:.2f} after "
                f"({found['change']:+.3%})"
            )
        )
    else:
        console.print(Text(f"perplexity was not measured: {report['not_measured']}"))
