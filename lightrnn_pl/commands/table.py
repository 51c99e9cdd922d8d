"""What ``lightrnn-table`` does: a model's word table for people and machines (LightRNN, Figure 5), and its growth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.allocation.allocation_file import code_names, read_table
from lightrnn_pl.allocation.inspection import format_moves, moves, neighbours, typical_codes
from lightrnn_pl.allocation.new_word_cells import empty_cells, usable_cells
from lightrnn_pl.checkpoint import Bundle, load, named_checkpoint, named_device, weights_file
from lightrnn_pl.checks import check_count
from lightrnn_pl.commands.grow import grow_bundle
from lightrnn_pl.files import write_json

_TABLE_FILES = (".tsv", ".csv", ".parquet")


def table(config: DictConfig) -> dict[str, Any]:
    """Print what ``config`` asks of ``config.checkpoint``, do it, and return what was said.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: Naming the key, for what cannot be shown or done.
    """
    check_count("rows", config.rows)
    check_count("limit", config.limit)
    named_checkpoint(config.checkpoint)
    if config.grow is None and config.output is not None:
        raise ValueError(f"output={config.output} is where a grown bundle goes; give grow=new_text.txt, or use export=")
    path = _bundle_file(config.checkpoint)
    device = named_device(config.device)
    bundle = load(config.checkpoint, device if config.grow is not None else "cpu")
    axes = code_names(bundle.model.allocation.num_components)
    if len(axes) == 1:
        raise ValueError(f"the model in {path} has no word table: its words have one code (model.components=1)")
    if config.axis not in axes:
        raise ValueError(f"axis={config.axis} is no axis of the table; choose one of {', '.join(axes)}")

    console = Console(highlight=False, markup=False)
    report: dict[str, Any] = {"checkpoint": str(path), **_facts(bundle)}
    _print_facts(console, report)
    if config.word is not None:
        report["word"] = _word(console, bundle, _spelled(config.word), axes, config.limit)
    if config.compare is not None:
        report["compare"] = _compare(console, bundle, Path(config.compare), config.rows, config.limit)
    if config.grow is not None:
        report["growth"] = grow_bundle(console, config, bundle, path)
    if config.word is None and config.compare is None and config.grow is None:
        report["typical"] = _typical(console, bundle, axes.index(config.axis), config)
    if config.export is not None:
        bundle.save_table(config.export)
        report["export"] = str(config.export)
        console.print(f"word table written to {config.export}", soft_wrap=True)
    if config.json:
        write_json(config.json, report)
    return report


def _bundle_file(given: str) -> Path:
    path = Path(given)
    if path.suffix in _TABLE_FILES:
        raise ValueError(f"checkpoint={given} is a table without counts or weights; give a best.ckpt or a run folder")
    return weights_file(path)


def _spelled(word: Any) -> str:
    """What was typed, where the command line made a number or a truth value of it."""
    return str(word).lower() if isinstance(word, bool) else str(word)


def _facts(bundle: Bundle) -> dict[str, Any]:
    allocation = bundle.model.allocation
    return {
        "sides": list(allocation.sides),
        "words": allocation.num_words,
        "empty_cells": int(empty_cells(allocation).sum()),
        "cells_to_grow_into": int(usable_cells(allocation).sum()),
        "table": allocation.fingerprint(),
    }


def _print_facts(console: Console, report: dict[str, Any]) -> None:
    facts = Table(title="word table", title_justify="left", show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    empty = f"{report['empty_cells']:,}"
    if report["empty_cells"]:
        empty += f", {report['cells_to_grow_into']:,} of them in rows and columns that have words"
    for key, value in (
        ("checkpoint", report["checkpoint"]),
        ("sides", " x ".join(map(str, report["sides"]))),
        ("words", f"{report['words']:,}"),
        ("empty cells", empty),
        ("fingerprint", report["table"]),
    ):
        facts.add_row(key, Text(value))
    console.print(facts)


def _typical(console: Console, bundle: Bundle, axis: int, config: DictConfig) -> dict[str, Any]:
    """The codes whose words are most of the training text, with their most frequent words."""
    allocation, words, counts = bundle.model.allocation, bundle.vocabulary.words, bundle.vocabulary.counts
    lines = typical_codes(allocation, words, counts, axis, config.rows, config.limit)
    table = Table(title=f"{config.axis}s whose words are most of the training text", title_justify="left")
    table.add_column(config.axis, justify="right")
    table.add_column("of the text", justify="right", no_wrap=True)
    table.add_column("its most frequent words", overflow="fold")
    for line in lines:
        table.add_row(str(line["code"]), f"{line['share']:.1%}", Text(" ".join(line["words"])))
    console.print(table)
    return {"axis": config.axis, "codes": lines}


def _word(console: Console, bundle: Bundle, word: str, axes: list[str], limit: int) -> dict[str, Any]:
    """The cell of a word, and who shares its codes."""
    allocation, words = bundle.model.allocation, bundle.vocabulary.words
    near = neighbours(allocation, words, word)
    number = words.index(word)
    codes = allocation.codes[number].tolist()
    count = int(bundle.vocabulary.counts[number])
    cell = ", ".join(f"{axis} {code}" for axis, code in zip(axes, codes, strict=True))
    console.print(f"{word}: {cell}; {count:,} times in the training text", soft_wrap=True)
    table = Table(title="who shares a code with it, the most frequent first", title_justify="left")
    table.add_column("code", no_wrap=True)
    table.add_column("words", justify="right")
    table.add_column("", overflow="fold")
    for axis, others in near.items():
        table.add_row(f"{axes[axis]} {codes[axis]}", f"{len(others):,}", Text(" ".join(others[:limit])))
    console.print(table)
    shared = {axes[axis]: others[:limit] for axis, others in near.items()}
    return {"word": word, "codes": codes, "count": count, "neighbours": shared}


def _compare(console: Console, bundle: Bundle, other: Path, rows: int, limit: int) -> dict[str, Any]:
    """Which words moved from the table in ``other`` to the bundle's, among those that both have."""
    allocation, words, counts = bundle.model.allocation, bundle.vocabulary.words, bundle.vocabulary.counts
    if other.suffix in _TABLE_FILES:
        if not other.is_file():
            raise FileNotFoundError(
                f"there is no word table at {other}; give compare= a file, a run folder or a bundle"
            )
        before, sides = read_table(other, words)
        shared = list(range(len(words)))
        only = 0
    else:
        bundle_before = load(other)
        table, sides = bundle_before.model.allocation.codes, bundle_before.model.allocation.sides
        place = {word: number for number, word in enumerate(bundle_before.vocabulary.words)}
        shared = [number for number, word in enumerate(words) if word in place]
        before = table[[place[words[number]] for number in shared]].long()
        only = len(place) - len(shared)
    if len(sides) != len(allocation.sides):
        raise ValueError(
            f"{other} spells a word with {len(sides)} codes, this model with {len(allocation.sides)}; compare tables "
            "of one kind"
        )
    after = allocation.codes[shared].long().cpu()
    groups = moves(before, after, [words[number] for number in shared])
    moved = (before != after).any(-1).numpy()
    share = float(counts[shared][moved].sum()) / max(1, int(counts.sum()))
    console.print(f"\nfrom {other} to this table", soft_wrap=True)
    console.print(
        f"{moved.sum():,} of {len(shared):,} words moved, {share:.1%} of the training text; {len(groups):,} groups"
    )
    if only or len(shared) < len(words):
        console.print(f"{len(words) - len(shared):,} words are in this table only, {only:,} in the other only")
    largest = dict(list(groups.items())[:rows])
    if groups:
        console.print(format_moves(largest, limit), soft_wrap=True)
    if len(groups) > len(largest):
        console.print(f"and {len(groups) - len(largest):,} smaller groups (rows=... shows more)")
    return {
        "from": str(other),
        "words_compared": len(shared),
        "words_moved": int(moved.sum()),
        "share_of_text": share,
        "only_here": len(words) - len(shared),
        "only_there": only,
        "groups": [_group(rows_moved, names) for rows_moved, names in groups.items()],
    }


def _group(rows: tuple[int, int], words: Iterable[str]) -> dict[str, Any]:
    return {"from_row": rows[0], "to_row": rows[1], "words": list(words)}
