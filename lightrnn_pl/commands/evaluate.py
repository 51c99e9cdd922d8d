"""``lightrnn-evaluate``: the perplexity of a bundle on a text, and the protocol by which it is measured."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.building import as_plain, instantiate
from lightrnn_pl.checkpoint import Bundle, load, resolve_checkpoint, resolve_device, weights_file
from lightrnn_pl.checks import check_count, check_flag
from lightrnn_pl.commands.adaptive_evaluation import (
    adapts,
    check_adaptive_data,
    check_adaptive_options,
    evaluate_adaptively,
    print_adaptive,
)
from lightrnn_pl.commands.keyboard_table import print_keyboards
from lightrnn_pl.commands.unused_options import check_unused
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.keyboard import measure_keyboard
from lightrnn_pl.evaluation.perplexity import Perplexity, bin_text, measure_perplexity
from lightrnn_pl.evaluation.progress import with_progress
from lightrnn_pl.evaluation.protocol import protocol_lines
from lightrnn_pl.evaluation.text_data import datamodule_for_text, own_data, own_datamodule
from lightrnn_pl.files import file_hash, write_json
from lightrnn_pl.inference.text_lines import require_file
from lightrnn_pl.ngrams.interpolation import check_interpolation, interpolate, print_interpolation


def evaluate(config: DictConfig) -> dict[str, Any]:
    """Evaluate ``config.checkpoint`` on each of ``config.splits``; print the results and return them."""
    _check_unused(config)
    check_flag("keyboard", config.keyboard)
    if config.keyboard_words is not None:
        check_count("keyboard_words", config.keyboard_words)
    path = resolve_checkpoint(config.checkpoint)
    device = resolve_device(config.device)
    if config.text is not None and not glob.has_magic(str(config.text)):
        require_file("text", config.text)
    bundle = load(path, device, config.tokenizer)
    path = weights_file(path)
    datamodule, splits = _datamodule(config, bundle)
    tuning_data = _tuning_data(config, bundle, datamodule)
    if config.interpolate is not None:
        check_interpolation(config, bundle, tuning_data)
    if adapts(config):
        check_adaptive_data(config, tuning_data, datamodule)
    results = {
        split: measure_perplexity(bundle.model, _batches(datamodule, split, bundle), bundle.vocabulary, device)
        for split in splits
    }
    reading_protocol = datamodule.reading_protocol(contiguous=True)
    tokens = {split: result.tokens for split, result in results.items()}
    report: dict[str, Any] = {
        "checkpoint": str(path),
        "sha256": file_hash(path),
        "table": bundle.model.allocation.fingerprint(),
        "parameters": bundle.model.num_parameters,
        "bytes": bundle.model.num_bytes,
        "protocol": {**bundle.protocol, **reading_protocol, "tokens": tokens},
        "splits": {split: result.as_dict() for split, result in results.items()},
    }
    keyboards = {}
    if config.interpolate is not None:
        report["interpolation"] = interpolate(config, bundle, tuning_data, dict.fromkeys(splits, datamodule), device)
        keyboards = {
            f"{split}, {model['name']}": model["splits"][split]["keyboard"]
            for split in splits
            for model in [*report["interpolation"]["members"], _combined(report["interpolation"])]
            if config.keyboard
        }
    elif config.keyboard:
        for split in splits:
            keyboards[split] = _measure_keyboard(config, bundle, datamodule, split)
            report["splits"][split]["keyboard"] = keyboards[split]
    adaptive = {}
    if adapts(config):
        adaptive = evaluate_adaptively(
            config, bundle, tuning_data, dict.fromkeys(splits, datamodule), partial(_batches, bundle=bundle), device
        )
        report.update(adaptive)
    if config.json:
        write_json(config.json, report)
    _print(report, results)
    if config.interpolate is not None:
        print_interpolation(Console(), report["interpolation"])
    if adaptive:
        print_adaptive(Console(), report["splits"], adaptive)
    if keyboards:
        print_keyboards(keyboards)
    return report


def _check_unused(config: DictConfig) -> None:
    """Check that no option is set that would be ignored.

    Raises:
        ValueError: Naming the option.
    """
    check_adaptive_options(config)
    if config.text is not None:
        check_unused(config, f"has no effect with text={config.text}; omit one of them", splits=["valid", "test"])
        if config.interpolate is None and not adapts(config) and config.get("data") is not None:
            raise ValueError(f"data={config.data.name} has no effect with text={config.text}; omit one of them")
    else:
        check_unused(config, "applies to text=FILE; pass it, or omit this", tokenizer=None)
    if not config.keyboard:
        check_unused(config, "requires keyboard=true; pass it, or omit this", keyboard_words=20000)
    names = config.interpolate if OmegaConf.is_list(config.interpolate) else [config.interpolate]
    if "kn" not in names:
        reason = "applies to the Kneser-Ney model; pass interpolate=kn, or omit it"
        check_unused(config, reason, interpolate_order=5, interpolate_estimator="auto", interpolate_arpa=None)
    if "cache" not in names:
        check_unused(config, "requires interpolate=cache; pass it, or omit this", cache_words=500, cache_decay=1.0)


def _datamodule(config: DictConfig, bundle: Bundle) -> tuple[Any, list[str]]:
    """The datamodule to evaluate on, and the names of its splits."""
    options = {} if config.eval_batch_size is None else {"eval_batch_size": config.eval_batch_size}
    if config.text is not None:
        return datamodule_for_text(bundle, config.text, **options), ["test"]
    is_own = config.get("data") is None
    data = (own_data(bundle) or {}) if is_own else as_plain(config.data)
    unknown = set(config.splits) - {"train", "valid", "test"}
    if unknown or not config.splits:
        raise ValueError(
            f"splits={list(config.splits)} must be a non-empty list that contains only train, valid and test"
        )
    splits = [split for split in config.splits if split == "train" or data.get(split, "") is not None]
    if not splits:
        raise ValueError(f"the corpus has none of the splits {list(config.splits)}; pass data.valid, data.test or text")
    own_options = {"cache_dir": config.paths.cache_dir, **options}
    return own_datamodule(bundle, **own_options) if is_own else instantiate({**data, **options}), splits


def _tuning_data(config: DictConfig, bundle: Bundle, datamodule: Any) -> Any:
    """The corpus on which n-grams are estimated and settings tuned: the model's own if ``text`` is evaluated."""
    if config.text is None or (config.interpolate is None and not adapts(config)):
        return datamodule
    own, _ = _datamodule(OmegaConf.merge(config, {"text": None, "splits": ["valid"]}), bundle)  # type: ignore[arg-type]
    return own


def _batches(datamodule: Any, split: str, bundle: Bundle) -> Iterable[Batch]:
    """The batches of a split, with a progress display."""
    return with_progress(datamodule.loader_for(bundle.vocabulary, split), Console(stderr=True), f"batches of {split}")


def _measure_keyboard(config: DictConfig, bundle: Bundle, datamodule: Any, split: str) -> dict[str, Any]:
    batches = _batches(datamodule, split, bundle)
    return measure_keyboard(bundle.decoder, bundle.vocabulary, batches, config.keyboard_words).as_dict()


def _combined(interpolation: dict[str, Any]) -> dict[str, Any]:
    return {"name": "all combined", "splits": interpolation["combined"]}


def _print(report: dict[str, Any], results: dict[str, Perplexity]) -> None:
    console = Console()
    # Eight columns are wider than a terminal of 80 columns with spaces beside the numbers.
    table = Table(title="perplexity", title_justify="left", padding=(0, 1 if console.width >= 100 else 0))
    has_unknown = any(result.unknown_tokens for result in results.values())
    columns = [*("split", "perplexity", "without end markers"), *(["without unknown words"] if has_unknown else [])]
    columns += ["nats per word", "tokens", "end markers", "unknown"]
    for column in columns:
        longest_word = max(map(len, column.split()))
        table.add_column(column, justify="left" if column == "split" else "right", min_width=longest_word)
    for split, result in results.items():
        counts = (f"{count:,}" for count in (result.tokens, result.end_tokens, result.unknown_tokens))
        perplexities = [result.perplexity, result.perplexity_without_end]
        perplexities += [result.perplexity_without_unknown] if has_unknown else []
        table.add_row(split, *(f"{value:.2f}" for value in perplexities), f"{result.nll:.4f}", *counts)
    console.print(table)
    bins = Table(title="perplexity by word count in the training text", title_justify="left")
    for column in ("split", "word count", "tokens", "perplexity"):
        bins.add_column(column, justify="left" if column == "split" else "right")
    for split, result in results.items():
        for line in result.bins:
            bins.add_row(split, bin_text(line.at_least), f"{line.tokens:,}", f"{line.perplexity:,.1f}")
    console.print(bins)
    protocol = Table(title="protocol", title_justify="left", show_header=False)
    protocol.add_column(no_wrap=True)
    protocol.add_column(overflow="fold")
    for key, value in protocol_lines(report["protocol"]):
        protocol.add_row(key, Text(value))
    protocol.add_row("parameters", f"{report['parameters']:,}")
    protocol.add_row("word table", report["table"][:16])
    protocol.add_row("checkpoint", report["checkpoint"])
    protocol.add_row("sha256", report["sha256"])
    console.print(protocol)
