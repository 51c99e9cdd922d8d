"""``lightrnn-table grow=...``: a text's new words into a bundle's empty cells, and what that is worth.

Perplexities before and after cannot be compared as they stand, because a vocabulary with more words has more to tell
apart.  Two comparisons can be made, and both are printed: over the tokens that were known before, which filled cells
take probability from; and with the old model spelling new words out of its unknown one, that is, a fixed share of
P(unknown) spread evenly over the new words.  The share is the best for the text at hand, so that the bar is high.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.allocation.inspection import typical_words
from lightrnn_pl.allocation.new_word_cells import usable_cells
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import perplexity, word_losses
from lightrnn_pl.evaluation.text_data import datamodule_for_text
from lightrnn_pl.inference.vocabulary_growth import check_growable, choose_new_words, grow_model, grown_vocabulary
from lightrnn_pl.nn.language_model import LanguageModel

_KEPT = 5
"""Words without a cell that are named."""


def grow_bundle(console: Console, config: DictConfig, bundle: Bundle, source: Path) -> dict[str, Any]:
    """Write ``config.output``: ``bundle`` with the new words of ``config.grow``; print and return what was done.

    Raises:
        FileNotFoundError: If there is no such text.
        ValueError: If the model or the text cannot be used, or the output is missing or the source itself.
    """
    if config.output is None:
        raise ValueError("grow=... writes a new bundle; say where: output=grown.ckpt")
    text, output = Path(config.grow), Path(config.output)
    if output.resolve() == source.resolve():
        raise ValueError(f"output={output} is the model that is to grow; give another file")
    if output.is_dir():
        raise ValueError(f"output={output} is a folder; give a file, for example {output / 'grown.ckpt'}")
    if not text.is_file():
        raise FileNotFoundError(f"there is no text at {text}; give grow= a text file, one tokenised sentence a line")
    check_growable(bundle.model, bundle.vocabulary)
    reader = datamodule_for_text(bundle, text)
    counts: Counter[str] = Counter()
    for block in reader.corpus.blocks("test"):
        found = pc.value_counts(block.flatten())
        counts.update(dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)))
    new, left = choose_new_words(counts, bundle.vocabulary, bundle.model.allocation, config.min_count, config.max_words)
    vocabulary = grown_vocabulary(bundle.vocabulary, new)
    batches = reader.loader_for(vocabulary, "test")
    model = grow_model(bundle.model, bundle.config, vocabulary, batches)
    measured = compare_models(bundle.model, model, batches, bundle.vocabulary.unknown_id)

    room = int(usable_cells(bundle.model.allocation).sum())
    codes = model.allocation.codes[len(bundle.vocabulary) :].tolist()
    facts = {
        "text": str(text),
        "min_count": config.min_count,
        "max_words": config.max_words,
        "cells": room,
        "words": [
            {"word": word, "count": count, "codes": code}
            for (word, count), code in zip(new.items(), codes, strict=True)
        ],
        "without_cell": {"words": len(left), "tokens": sum(left.values()), "most_frequent": list(left)[:_KEPT]},
        "table_before": bundle.model.allocation.fingerprint(),
        "table": model.allocation.fingerprint(),
        **measured,
    }
    protocol = {
        **bundle.protocol,
        "vocabulary_size": len(vocabulary),
        "grown_words": bundle.protocol.get("grown_words", 0) + len(new),
    }
    metrics = {**bundle.metrics, "growth": [*bundle.metrics.get("growth", []), facts]}
    grown = replace(bundle, model=model, vocabulary=vocabulary, protocol=protocol, metrics=metrics)
    grown.save(output)
    _print(console, config, grown, facts, num_old=len(bundle.vocabulary))
    console.print(f"grown model written to {output}", soft_wrap=True)
    return {"output": str(output), **facts}


@torch.no_grad()
def compare_models(
    before: LanguageModel, after: LanguageModel, batches: Iterable[Batch], unknown: int | None
) -> dict[str, Any]:
    """Tokens and mean negative log-likelihoods (nats a word) of a text under a model and the one grown from it.

    Args:
        before: Reads every word beyond its own as the unknown one.
        after: Knows all ids of the batches.
        batches: The text with the ids of the grown vocabulary; read twice.
        unknown: The id of the unknown word.
    """
    assert unknown is not None
    num_old = before.allocation.num_words
    device = next(after.parameters()).device
    old = word_losses(before, _Narrowed(batches, num_old, unknown), device)
    new = word_losses(after, batches, device)
    old_nll, old_tokens, new_nll, new_tokens = old.nll, old.tokens, new.nll, new.tokens
    num_new = after.allocation.num_words - num_old
    total = float(new_tokens.sum())
    num_unknown = float(old_tokens[unknown])
    new_total = float(new_tokens[num_old:].sum())
    # The old model cannot tell the unknown word's tokens from new ones, so they are not "known" to it.
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
        "nll_before_shared": mean(float(old_nll.sum()) + _nats_to_share(num_unknown, new_total, num_new), total),
        "nll": mean(float(new_nll.sum()), total),
        "known_nll_before": mean(float(old_nll[known].sum()), known_tokens),
        "known_nll": mean(float(new_nll[:num_old][known].sum()), known_tokens),
        "new_nll": mean(float(new_nll[num_old:].sum()), new_total),
    }


def _nats_to_share(num_unknown: float, new_tokens: float, num_new: int) -> float:
    """What it costs to tell the new words among ``num_unknown`` tokens by one share for all positions, the best one."""
    left = num_unknown - new_tokens
    nats = new_tokens * math.log(num_new)
    for part in (new_tokens, left):
        nats -= part * math.log(part / num_unknown) if part else 0.0
    return nats


class _Narrowed:
    """Batches with every id beyond ``num_words`` made the unknown word's."""

    def __init__(self, batches: Iterable[Batch], num_words: int, unknown: int) -> None:
        self._batches, self._num_words, self._unknown = batches, num_words, unknown

    def __iter__(self) -> Any:
        for inputs, targets, mask, reset in self._batches:
            inputs, targets = (ids.masked_fill(ids >= self._num_words, self._unknown) for ids in (inputs, targets))
            yield Batch(inputs, targets, mask, reset)


def _print(console: Console, config: DictConfig, grown: Bundle, facts: dict[str, Any], num_old: int) -> None:
    allocation, words = grown.model.allocation, grown.vocabulary.words
    placed, left = facts["words"], facts["without_cell"]
    console.print(
        f"\n{len(placed):,} new words of {facts['text']} (at least {config.min_count} times) put into "
        f"{facts['cells']:,} empty cells",
        soft_wrap=True,
    )
    if left["words"]:
        named = " ".join(left["most_frequent"]) + (" ..." if left["words"] > _KEPT else "")
        told = f"{left['words']:,} words ({left['tokens']:,} tokens) did not get a cell and stay unknown: {named}"
        console.print(told, soft_wrap=True)
    company = typical_words(allocation, words, grown.vocabulary.counts, limit=config.limit)
    by_row: dict[int, list[str]] = {}
    for line in placed:
        by_row.setdefault(line["codes"][0], []).append(line["word"])
    table = Table(title="rows that grew", title_justify="left")
    table.add_column("row", justify="right")
    table.add_column("new words", overflow="fold")
    table.add_column("most frequent words", overflow="fold")
    ranked = sorted(by_row.items(), key=lambda row: (-len(row[1]), row[0]))
    old = set(words[:num_old])
    for row, names in ranked[: config.rows]:
        shown = " ".join(names[: config.limit]) + (" ..." if len(names) > config.limit else "")
        table.add_row(str(row), Text(shown), Text(" ".join(word for word in company[row] if word in old)))
    console.print(table)
    if len(ranked) > config.rows:
        console.print(f"and {len(ranked) - config.rows:,} more rows (rows=... shows more)")
    results = Table(title="perplexity of this text", title_justify="left")
    for column in ("tokens", "number", "before", "grown"):
        results.add_column(column, justify="left" if column == "tokens" else "right")
    for name, tokens, before, after in (
        ("all, new words as the unknown word before: not comparable", "tokens", "nll_before", "nll"),
        ("all, new words spelled out of the unknown word before", "tokens", "nll_before_shared", "nll"),
        ("words known before", "known_tokens", "known_nll_before", "known_nll"),
        ("new words", "new_tokens", None, "new_nll"),
    ):
        results.add_row(name, f"{facts[tokens]:,}", _told(facts, before), _told(facts, after))
    console.print(results)
    console.print("Cells were chosen on this very text; judge the model on another (lightrnn-evaluate text=...).")


def _told(facts: dict[str, Any], key: str | None) -> str:
    nll = None if key is None else facts[key]
    return "-" if nll is None else f"{perplexity(nll):,.2f}"
