"""``lightrnn-table grow=...``: assign the new words of a text to empty cells of a bundle, and measure the effect.

Perplexities before and after are not comparable, because the larger vocabulary distinguishes more words.  Two valid
comparisons are printed instead.  The first is restricted to tokens that were known before; they lose probability to the
newly filled cells.  The second extends the old model to the new words: a fixed share of P(unknown) is distributed
evenly over them.  This share is optimized on the evaluated text, which favors the old model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.allocation.inspection import typical_words
from lightrnn_pl.allocation.new_word_cells import usable_cells
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.data.corpus import count_words
from lightrnn_pl.evaluation.perplexity import perplexity, word_losses
from lightrnn_pl.evaluation.text_data import datamodule_for_text
from lightrnn_pl.inference.vocabulary_growth import check_growable, choose_new_words, extended_vocabulary, grow_model
from lightrnn_pl.nn.language_model import LanguageModel

_NUM_EXAMPLES = 5
"""Maximum number of examples of words without a cell."""


def grow_bundle(console: Console, config: DictConfig, bundle: Bundle, source: Path) -> dict[str, Any]:
    """Add the new words of ``config.grow`` to ``bundle``, write it to ``config.output``, and return a report.

    Raises:
        FileNotFoundError: If the text does not exist.
        ValueError: If the model, the text or the output is invalid.
    """
    if config.output is None:
        raise ValueError("grow=... writes a new bundle; pass output=FILE, for example output=grown.ckpt")
    text, output = Path(config.grow), Path(config.output)
    if output.resolve() == source.resolve():
        raise ValueError(f"output={output} is the source model; pass another file")
    if output.is_dir():
        raise ValueError(f"output={output} is a folder; pass a file, for example {output / 'grown.ckpt'}")
    if not text.is_file():
        raise FileNotFoundError(f"text file {text} does not exist; grow must be a text file with one sentence per line")
    check_growable(bundle.model, bundle.vocabulary)
    reader = datamodule_for_text(bundle, text)
    counts = count_words(reader.corpus, "test")
    new, without_cell = choose_new_words(
        counts, bundle.vocabulary, bundle.model.allocation, config.min_count, config.max_words
    )
    vocabulary = extended_vocabulary(bundle.vocabulary, new)
    batches = reader.loader_for(vocabulary, "test")
    model = grow_model(bundle.model, bundle.config, vocabulary, batches)
    losses = compare_models(bundle.model, model, batches, bundle.vocabulary.unknown_id)

    codes = model.allocation.codes[len(bundle.vocabulary) :].tolist()
    growth = {
        "text": str(text),
        "min_count": config.min_count,
        "max_words": config.max_words,
        "cells": int(usable_cells(bundle.model.allocation).sum()),
        "words": [
            {"word": word, "count": count, "codes": code}
            for (word, count), code in zip(new.items(), codes, strict=True)
        ],
        "without_cell": {
            "words": len(without_cell),
            "tokens": sum(without_cell.values()),
            "most_frequent": list(without_cell)[:_NUM_EXAMPLES],
        },
        "table_before": bundle.model.allocation.fingerprint(),
        "table": model.allocation.fingerprint(),
        **losses,
    }
    protocol = {
        **bundle.protocol,
        "vocabulary_size": len(vocabulary),
        "grown_words": bundle.protocol.get("grown_words", 0) + len(new),
    }
    metrics = {**bundle.metrics, "growth": [*bundle.metrics.get("growth", []), growth]}
    grown = replace(bundle, model=model, vocabulary=vocabulary, protocol=protocol, metrics=metrics)
    grown.save(output)
    _print(console, config, grown, growth, num_old=len(bundle.vocabulary))
    console.print(f"grown model written to {output}", soft_wrap=True)
    return {"output": str(output), **growth}


@torch.no_grad()
def compare_models(
    before: LanguageModel, after: LanguageModel, batches: Iterable[Batch], unknown: int | None
) -> dict[str, Any]:
    """Token counts and mean losses (nats per word) of a text under a model and the one grown from it.

    Args:
        before: The model before growth; words that it does not contain are read as the unknown word.
        after: The grown model.
        batches: The text with the ids of the grown vocabulary; it is read twice.
        unknown: The id of the unknown word.
    """
    assert unknown is not None
    num_old = before.allocation.num_words
    device = next(after.parameters()).device
    old = word_losses(before, _OldVocabularyBatches(batches, num_old, unknown), device)
    new = word_losses(after, batches, device)
    old_nll, old_tokens, new_nll, new_tokens = old.nll, old.tokens, new.nll, new.tokens
    num_new = after.allocation.num_words - num_old
    total = float(new_tokens.sum())
    num_unknown = float(old_tokens[unknown])
    new_total = float(new_tokens[num_old:].sum())
    # For the old model, new words are unknown words, so the unknown word does not count as known.
    known = torch.ones(num_old, dtype=torch.bool)
    known[unknown] = False
    known_tokens = float(old_tokens[known].sum())

    def mean(nll: float, tokens: float) -> float | None:
        return nll / tokens if tokens else None

    return {
        "tokens": int(total),
        "known_tokens": int(known_tokens),
        "new_tokens": int(new_total),
        "unknown_tokens_before": int(num_unknown),
        "unknown_tokens": int(new_tokens[unknown]),
        "nll_before": mean(float(old_nll.sum()), total),
        "nll_before_shared": mean(float(old_nll.sum()) + _sharing_loss(num_unknown, new_total, num_new), total),
        "nll": mean(float(new_nll.sum()), total),
        "known_nll_before": mean(float(old_nll[known].sum()), known_tokens),
        "known_nll": mean(float(new_nll[:num_old][known].sum()), known_tokens),
        "new_nll": mean(float(new_nll[num_old:].sum()), new_total),
    }


def _sharing_loss(num_unknown: float, new_tokens: float, num_new: int) -> float:
    """Additional loss, in nats, of distributing the optimal fixed share of P(unknown) evenly over the new words."""
    nats = new_tokens * math.log(num_new)
    for part in (new_tokens, num_unknown - new_tokens):
        nats -= part * math.log(part / num_unknown) if part else 0.0
    return nats


class _OldVocabularyBatches:
    """Batches in which ids from ``num_words`` on are replaced by the unknown word."""

    def __init__(self, batches: Iterable[Batch], num_words: int, unknown: int) -> None:
        self._batches, self._num_words, self._unknown = batches, num_words, unknown

    def __iter__(self) -> Any:
        for inputs, targets, mask, reset in self._batches:
            inputs, targets = (ids.masked_fill(ids >= self._num_words, self._unknown) for ids in (inputs, targets))
            yield Batch(inputs, targets, mask, reset)


def _print(console: Console, config: DictConfig, grown: Bundle, growth: dict[str, Any], num_old: int) -> None:
    allocation, words = grown.model.allocation, grown.vocabulary.words
    new_words, without_cell = growth["words"], growth["without_cell"]
    console.print(
        f"\nassigned {len(new_words):,} new words from {growth['text']} (at least {config.min_count} occurrences each) "
        f"to empty cells ({growth['cells']:,} were available)",
        soft_wrap=True,
    )
    if without_cell["words"]:
        examples = " ".join(without_cell["most_frequent"]) + (" ..." if without_cell["words"] > _NUM_EXAMPLES else "")
        console.print(
            f"{without_cell['words']:,} words ({without_cell['tokens']:,} tokens) did not get a cell and remain "
            f"unknown: {examples}",
            soft_wrap=True,
        )
    members = typical_words(allocation, words, grown.vocabulary.counts, limit=config.limit)
    by_row: dict[int, list[str]] = {}
    for entry in new_words:
        by_row.setdefault(entry["codes"][0], []).append(entry["word"])
    table = Table(title="rows with new words", title_justify="left")
    table.add_column("row", justify="right")
    table.add_column("new words", overflow="fold")
    table.add_column("most frequent words", overflow="fold")
    ranked = sorted(by_row.items(), key=lambda row: (-len(row[1]), row[0]))
    old = set(words[:num_old])
    for row, row_words in ranked[: config.rows]:
        shown = " ".join(row_words[: config.limit]) + (" ..." if len(row_words) > config.limit else "")
        table.add_row(str(row), Text(shown), Text(" ".join(word for word in members[row] if word in old)))
    console.print(table)
    if len(ranked) > config.rows:
        console.print(f"and {len(ranked) - config.rows:,} more rows (increase rows to show them)")
    results = Table(title="perplexity on this text", title_justify="left")
    for column in ("tokens", "number", "before", "grown"):
        results.add_column(column, justify="left" if column == "tokens" else "right")
    for name, tokens, before, after in (
        ("all, before: new words read as the unknown word (not comparable)", "tokens", "nll_before", "nll"),
        ("all, before: P(unknown) shared among new words", "tokens", "nll_before_shared", "nll"),
        ("words known before", "known_tokens", "known_nll_before", "known_nll"),
        ("new words", "new_tokens", None, "new_nll"),
    ):
        results.add_row(name, f"{growth[tokens]:,}", _perplexity(growth, before), _perplexity(growth, after))
    console.print(results)
    console.print("Cells were chosen on this text; evaluate the model on another one (lightrnn-evaluate text=FILE).")


def _perplexity(growth: dict[str, Any], key: str | None) -> str:
    nll = None if key is None else growth[key]
    return "-" if nll is None else f"{perplexity(nll):,.2f}"
