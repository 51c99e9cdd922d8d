"""What ``lightrnn-score`` does: text in, log-probabilities out, as a stream."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lightrnn_pl.checkpoint import Bundle, load, named_checkpoint, named_device
from lightrnn_pl.checks import check_count
from lightrnn_pl.inference.scoring import ScoredLine, score_stream
from lightrnn_pl.inference.text_lines import STANDARD, by_hand, text_lines, write_lines
from lightrnn_pl.vocabulary import Vocabulary

Item = TypeVar("Item")


@dataclass
class Totals:
    """What was scored so far."""

    lines: int = 0
    words: int = 0
    ends: int = 0
    unknown: int = 0
    log_probability: float = 0.0

    def add(self, scored: ScoredLine, has_end: bool) -> None:
        """Count another line."""
        self.lines += 1
        self.words += len(scored.words) - has_end
        self.ends += has_end
        self.unknown += scored.known.count(False)
        self.log_probability += scored.log_probability


def score(config: DictConfig) -> Totals:
    """Score ``config.text`` with ``config.checkpoint``, write a line for each of its lines, tell totals on stderr.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: Naming the key or the line, for what cannot be read or scored.
    """
    written = _FORMATS.get(config.format)
    if written is None:
        raise ValueError(f"format={config.format} is none of {', '.join(_FORMATS)}")
    check_count("batch_size", config.batch_size)
    check_count("buffer", config.buffer)
    check_output("output", config.output, [config.text])
    to_file = config.output != STANDARD
    if not to_file and sys.stdout is None:
        raise ValueError("standard output is closed; give output=FILE")
    bundle = load_bundle(config.checkpoint, config.device)
    console = Console(stderr=True, highlight=False, markup=False)
    totals = Totals()
    with ExitStack() as stack:
        file = stack.enter_context(write_lines(config.output)) if to_file else sys.stdout.buffer
        typed = config.text == STANDARD and by_hand()
        # Whoever types a line, or asked for it, has its score before the next one is read.
        buffer = 1 if typed else config.buffer
        lines = score_stream(bundle.model, bundle.vocabulary, text_lines(config.text), config.batch_size, buffer)
        # A count would run through lines that are written to the same terminal.
        quiet = typed or (not to_file and sys.stdout.isatty())
        for scored in lines if quiet else watched(lines, console):
            totals.add(scored, bundle.vocabulary.end is not None)
            file.write(written(scored).encode("utf-8") + b"\n")
            if buffer == 1:
                file.flush()
        if not to_file:
            file.flush()
    _tell(console, totals, bundle.vocabulary)
    return totals


def load_bundle(checkpoint: str | None, device: str) -> Bundle:
    """The bundle that ``checkpoint`` names, on ``device`` (auto, cpu, cuda)."""
    return load(named_checkpoint(checkpoint), named_device(device))


def check_output(key: str, output: str | None, sources: Iterable[str | None]) -> None:
    """Refuse to write over what is being read.

    Raises:
        ValueError: Naming the key.
    """
    if output is None or output == STANDARD:
        return
    if Path(output).is_dir():
        raise ValueError(f"{key}={output} is a folder; give a file")
    for source in sources:
        if source is not None and source != STANDARD and Path(source).resolve() == Path(output).resolve():
            raise ValueError(f"{key}={output} is also what is read; give another file")


def watched(items: Iterable[Item], console: Console, what: str = "lines") -> Iterator[Item]:
    """The same items, with a count of them on a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} " + what), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        for item in items:
            yield item
            progress.advance(task)


def _tsv(scored: ScoredLine) -> str:
    return f"{scored.log_probability:.6f}\t{scored.line}"


def _json(scored: ScoredLine) -> str:
    words = zip(scored.words, scored.log_probabilities, scored.known, strict=True)
    content = {"line": scored.line, "log_probability": scored.log_probability, "words": list(words)}
    return json.dumps(content, ensure_ascii=False)


_FORMATS: dict[str, Callable[[ScoredLine], str]] = {"tsv": _tsv, "json": _json}


def _tell(console: Console, totals: Totals, vocabulary: Vocabulary) -> None:
    ends = f" and {totals.ends:,} end markers" if vocabulary.end is not None else ", no end markers"
    told = f"lines: {totals.lines:,}, each from a fresh state; {totals.words:,} words{ends} scored"
    if counted := totals.words + totals.ends:
        mean = -totals.log_probability / counted
        told += f"; log-probability {totals.log_probability:,.2f} (natural), perplexity {math.exp(min(mean, 700)):,.2f}"
    console.print(told, soft_wrap=True)
    share = totals.unknown / totals.words if totals.words else 0.0
    console.print(
        f"unknown words: {totals.unknown:,}, {share:.2%} of the words"
        + (f", scored as {vocabulary.unknown}" if totals.unknown else ""),
        soft_wrap=True,
    )
