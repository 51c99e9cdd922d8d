"""What ``lightrnn-evaluate`` does: a bundle, a text, and a perplexity nobody has to guess the meaning of."""

from __future__ import annotations

import glob
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.building import as_plain, instantiate
from lightrnn_pl.checkpoint import Bundle, load, named_checkpoint, named_device, weights_file
from lightrnn_pl.evaluation.perplexity import Perplexity, measure_perplexity
from lightrnn_pl.evaluation.protocol import protocol_lines
from lightrnn_pl.evaluation.text_data import datamodule_for_text
from lightrnn_pl.files import file_hash, write_json
from lightrnn_pl.inference.text_lines import require_file
from lightrnn_pl.ngrams.interpolation import check_interpolation, interpolate, print_interpolation


def evaluate(config: DictConfig) -> dict[str, Any]:
    """Judge ``config.checkpoint`` on each of ``config.splits``, print the tables, and return what they say."""
    path = named_checkpoint(config.checkpoint)
    device = named_device(config.device)
    if config.text is not None and not glob.has_magic(str(config.text)):
        require_file("text", config.text)
    bundle = load(path, device)
    path = weights_file(path)
    datamodule, splits = _datamodule(config, bundle)
    home = _home(config, bundle, datamodule)
    if config.interpolate is not None:
        check_interpolation(config, bundle, home)
    results = {
        split: measure_perplexity(
            bundle.model, datamodule.loader_for(bundle.vocabulary, split), bundle.vocabulary, device
        )
        for split in splits
    }
    read_now = datamodule.reading(split_at_once=True)
    tokens = {split: result.tokens for split, result in results.items()}
    report: dict[str, Any] = {
        "checkpoint": str(path),
        "sha256": file_hash(path),
        "table": bundle.model.allocation.fingerprint(),
        "parameters": bundle.model.num_parameters,
        "bytes": bundle.model.num_bytes,
        "protocol": {**bundle.protocol, **read_now, "tokens": tokens},
        "splits": {split: result.as_dict() for split, result in results.items()},
    }
    if config.interpolate is not None:
        report["interpolation"] = interpolate(config, bundle, home, dict.fromkeys(splits, datamodule), device)
    if config.json:
        write_json(config.json, report)
    _print(report, results)
    if config.interpolate is not None:
        print_interpolation(Console(), report["interpolation"])
    return report


def _datamodule(config: DictConfig, bundle: Bundle) -> tuple[Any, list[str]]:
    """The text to evaluate on, and which of its splits."""
    changed = {} if config.eval_batch_size is None else {"eval_batch_size": config.eval_batch_size}
    if config.text is not None:
        return datamodule_for_text(bundle, config.text, **changed), ["test"]
    chosen = as_plain(bundle.config.data if config.get("data") is None else config.data)
    unknown = set(config.splits) - {"train", "valid", "test"}
    if unknown or not config.splits:
        raise ValueError(f"splits={list(config.splits)} must name some of train, valid, test")
    splits = [split for split in config.splits if split == "train" or chosen.get(split, "") is not None]
    if not splits:
        raise ValueError(f"the corpus has none of the splits {list(config.splits)}; pass data.valid, data.test or text")
    return instantiate({**chosen, **changed}), splits


def _home(config: DictConfig, bundle: Bundle, datamodule: Any) -> Any:
    """The corpus to estimate and to tune on: the one evaluated, or the model's own if a text is evaluated."""
    if config.text is None or config.interpolate is None:
        return datamodule
    own, _ = _datamodule(OmegaConf.merge(config, {"text": None, "splits": ["valid"]}), bundle)  # type: ignore[arg-type]
    return own


def _print(report: dict[str, Any], results: dict[str, Perplexity]) -> None:
    console = Console()
    table = Table(title="perplexity", title_justify="left")
    columns = ("split", "perplexity", "without end markers", "nats a word", "tokens", "end markers", "unknown")
    for column in columns:
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, result in results.items():
        counts = (f"{count:,}" for count in (result.tokens, result.end_tokens, result.unknown_tokens))
        table.add_row(
            split, f"{result.perplexity:.2f}", f"{result.perplexity_without_end:.2f}", f"{result.nll:.4f}", *counts
        )
    console.print(table)
    bins = Table(title="by the word's count in the training text", title_justify="left")
    for column in ("split", "count from", "tokens", "perplexity"):
        bins.add_column(column, justify="left" if column == "split" else "right")
    for split, result in results.items():
        for line in result.bins:
            bins.add_row(split, f"{line.at_least:,}", f"{line.tokens:,}", f"{line.perplexity:,.1f}")
    console.print(bins)
    facts = Table(title="protocol", title_justify="left", show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for key, value in protocol_lines(report["protocol"]):
        facts.add_row(key, Text(value))
    facts.add_row("parameters", f"{report['parameters']:,}")
    facts.add_row("word table", report["table"][:16])
    facts.add_row("checkpoint", report["checkpoint"])
    facts.add_row("sha256", report["sha256"])
    console.print(facts)
