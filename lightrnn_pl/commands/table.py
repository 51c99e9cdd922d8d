"""``lightrnn-table``: inspect, compare, export or grow the word table of a model (LightRNN, Figure 5)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.allocation.allocation_file import code_names, read_table
from lightrnn_pl.allocation.inspection import format_reallocations, group_reallocations, neighbors, typical_codes
from lightrnn_pl.allocation.new_word_cells import empty_cells, usable_cells
from lightrnn_pl.checkpoint import Bundle, load, model_path, resolve_checkpoint, resolve_device, weights_file
from lightrnn_pl.checks import check_count
from lightrnn_pl.commands.grow import grow_bundle
from lightrnn_pl.commands.unused_options import check_unused
from lightrnn_pl.files import write_json

_TABLE_FILES = (".tsv", ".csv", ".parquet")


def table(config: DictConfig) -> dict[str, Any]:
    """Inspect, compare, export or grow the word table of ``config.checkpoint``; print a report and return it.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a setting is invalid, or the model has no word table; the message names the key.
    """
    check_count("rows", config.rows)
    check_count("limit", config.limit)
    resolve_checkpoint(config.checkpoint)
    if config.grow is None and config.output is not None:
        raise ValueError(f"output={config.output} requires grow=TEXT; to export the table, pass export=FILE")
    if config.grow is None:
        check_unused(config, "requires grow=TEXT; pass it, or omit this", min_count=2, max_words=None)
    actions = [key for key in ("word", "compare", "grow") if config[key] is not None]
    if actions:
        check_unused(config, f"has no effect with {actions[0]}=...; omit one of them", axis="row")
    if actions == ["word"]:
        check_unused(config, "has no effect with word=...; omit one of them", rows=10)
    path = _bundle_file(config.checkpoint)
    device = resolve_device(config.device)
    bundle = load(config.checkpoint, device if config.grow is not None else "cpu")
    axes = code_names(bundle.model.allocation.num_components)
    if len(axes) == 1:
        raise ValueError(f"the model in {path} has no word table: each word has one code (model.components=1)")
    if not actions and config.axis not in axes:
        raise ValueError(f"axis={config.axis} is not an axis of the table; choose one of {', '.join(axes)}")

    console = Console(highlight=False, markup=False)
    report: dict[str, Any] = {"checkpoint": str(path), **_properties(bundle)}
    _print_properties(console, report)
    if config.word is not None:
        report["word"] = _word(console, bundle, _as_text(config.word), axes, config.limit)
    if config.compare is not None:
        report["compare"] = _compare(console, bundle, model_path(config.compare), config.rows, config.limit)
    if config.grow is not None:
        report["growth"] = grow_bundle(console, config, bundle, path)
    if not actions:
        report["typical"] = _typical(console, bundle, axes.index(config.axis), config)
    if config.export is not None:
        bundle.save_table(config.export)
        report["export"] = str(config.export)
        console.print(f"word table written to {config.export}", soft_wrap=True)
    if config.json:
        write_json(config.json, report)
    return report


def _bundle_file(checkpoint: str) -> Path:
    path = Path(checkpoint)
    if path.suffix in _TABLE_FILES:
        raise ValueError(
            f"checkpoint={checkpoint} is a table without counts or weights; pass a best.ckpt or a run folder"
        )
    return weights_file(path)


def _as_text(word: Any) -> str:
    """The word as it was typed; Hydra parses some words as numbers or booleans."""
    return str(word).lower() if isinstance(word, bool) else str(word)


def _properties(bundle: Bundle) -> dict[str, Any]:
    allocation = bundle.model.allocation
    return {
        "sides": list(allocation.sides),
        "words": allocation.num_words,
        "empty_cells": int(empty_cells(allocation).sum()),
        "cells_to_grow_into": int(usable_cells(allocation).sum()),
        "table": allocation.fingerprint(),
    }


def _print_properties(console: Console, report: dict[str, Any]) -> None:
    properties = Table(title="word table", title_justify="left", show_header=False)
    properties.add_column(no_wrap=True)
    properties.add_column(overflow="fold")
    empty = f"{report['empty_cells']:,}"
    if report["empty_cells"]:
        empty += f", {report['cells_to_grow_into']:,} of which are in rows and columns that have words"
    for key, value in (
        ("checkpoint", report["checkpoint"]),
        ("sides", " x ".join(map(str, report["sides"]))),
        ("words", f"{report['words']:,}"),
        ("empty cells", empty),
        ("fingerprint", report["table"]),
    ):
        properties.add_row(key, Text(value))
    console.print(properties)


def _typical(console: Console, bundle: Bundle, axis: int, config: DictConfig) -> dict[str, Any]:
    """Print the most frequent codes of an axis, with their most frequent words."""
    allocation, words, counts = bundle.model.allocation, bundle.vocabulary.words, bundle.vocabulary.counts
    codes = typical_codes(allocation, words, counts, axis, config.rows, config.limit)
    table = Table(title=f"most frequent {config.axis}s", title_justify="left")
    table.add_column(config.axis, justify="right")
    table.add_column("share of the text", justify="right", no_wrap=True)
    table.add_column("most frequent words", overflow="fold")
    for code in codes:
        table.add_row(str(code["code"]), f"{code['share']:.1%}", Text(" ".join(code["words"])))
    console.print(table)
    return {"axis": config.axis, "codes": codes}


def _word(console: Console, bundle: Bundle, word: str, axes: list[str], limit: int) -> dict[str, Any]:
    """Print the codes of a word, and the words that share them."""
    allocation, words = bundle.model.allocation, bundle.vocabulary.words
    sharing_words = neighbors(allocation, words, word)
    number = words.index(word)
    codes = allocation.codes[number].tolist()
    count = int(bundle.vocabulary.counts[number])
    cell = ", ".join(f"{axis} {code}" for axis, code in zip(axes, codes, strict=True))
    console.print(f"{word}: {cell}; {count:,} occurrences in the training text", soft_wrap=True)
    table = Table(title="words with the same code, most frequent first", title_justify="left")
    table.add_column("code", no_wrap=True)
    table.add_column("words", justify="right")
    table.add_column("", overflow="fold")
    for axis, others in sharing_words.items():
        table.add_row(f"{axes[axis]} {codes[axis]}", f"{len(others):,}", Text(" ".join(others[:limit])))
    console.print(table)
    shared = {axes[axis]: others[:limit] for axis, others in sharing_words.items()}
    return {"word": word, "codes": codes, "count": count, "neighbours": shared}


def _compare(console: Console, bundle: Bundle, other: Path, rows: int, limit: int) -> dict[str, Any]:
    """Print the words whose codes differ between the table in ``other`` and the bundle's."""
    allocation, words, counts = bundle.model.allocation, bundle.vocabulary.words, bundle.vocabulary.counts
    if other.suffix in _TABLE_FILES:
        if not other.is_file():
            raise FileNotFoundError(
                f"word table {other} does not exist; compare must be a table file, a run folder or a bundle"
            )
        before, sides = read_table(other, words)
        shared = list(range(len(words)))
        num_only_other = 0
    else:
        bundle_before = load(other)
        table, sides = bundle_before.model.allocation.codes, bundle_before.model.allocation.sides
        ids = {word: number for number, word in enumerate(bundle_before.vocabulary.words)}
        shared = [number for number, word in enumerate(words) if word in ids]
        before = table[[ids[words[number]] for number in shared]].long()
        num_only_other = len(ids) - len(shared)
    if len(sides) != len(allocation.sides):
        raise ValueError(
            f"{other} has {len(sides)} codes per word, but this model has {len(allocation.sides)}; only tables with "
            "the same number of codes can be compared"
        )
    after = allocation.codes[shared].long().cpu()
    groups = group_reallocations(before, after, [words[number] for number in shared])
    changed = (before != after).any(-1).numpy()
    share = float(counts[shared][changed].sum()) / max(1, int(counts.sum()))
    console.print(f"\nfrom {other} to this table", soft_wrap=True)
    console.print(
        f"{changed.sum():,} of {len(shared):,} words reallocated, {share:.1%} of the training text; "
        f"{len(groups):,} groups"
    )
    if num_only_other or len(shared) < len(words):
        num_only_this = len(words) - len(shared)
        console.print(f"{num_only_this:,} words are only in this table, {num_only_other:,} only in the other")
    largest = dict(list(groups.items())[:rows])
    if groups:
        console.print(format_reallocations(largest, limit), soft_wrap=True)
    if len(groups) > len(largest):
        console.print(f"and {len(groups) - len(largest):,} smaller groups (increase rows to show more)")
    return {
        "from": str(other),
        "words_compared": len(shared),
        "words_moved": int(changed.sum()),
        "share_of_text": share,
        "only_here": len(words) - len(shared),
        "only_there": num_only_other,
        "groups": [_group(row_pair, names) for row_pair, names in groups.items()],
    }


def _group(rows: tuple[int, int], words: Iterable[str]) -> dict[str, Any]:
    return {"from_row": rows[0], "to_row": rows[1], "words": list(words)}
