"""``lightrnn-score``: log-probabilities of the lines of a text, as a stream."""

from __future__ import annotations

import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from lightrnn_pl.checkpoint import load, resolve_checkpoint, resolve_device
from lightrnn_pl.checks import check_choice, check_count, check_number
from lightrnn_pl.evaluation.progress import with_progress
from lightrnn_pl.inference.scoring import LineScorer, NeuralLineScorer, ScoredLine
from lightrnn_pl.inference.text_lines import STANDARD, is_interactive, text_lines, write_lines
from lightrnn_pl.ngrams.line_scoring import is_ngram_file, ngram_line_scorer
from lightrnn_pl.tokenization import tokenizer_named
from lightrnn_pl.vocabulary import Vocabulary


@dataclass
class Totals:
    """Counts and sums over the lines scored so far."""

    lines: int = 0
    words: int = 0
    ends: int = 0
    unknown: int = 0
    log_probability: float = 0.0

    def add(self, scored: ScoredLine, has_end: bool) -> None:
        """Add a line."""
        self.lines += 1
        self.words += len(scored.words) - has_end
        self.ends += has_end
        self.unknown += scored.known.count(False)
        self.log_probability += scored.log_probability


def score(config: DictConfig) -> Totals:
    """Score each line of ``config.text`` with ``config.checkpoint``, and print totals to standard error.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a setting is invalid, or a line cannot be read or scored.
    """
    check_choice("format", config.format, (*_FORMATS, "kaldi"))
    check_count("batch_size", config.batch_size)
    check_count("buffer", config.buffer)
    check_number("unknown_penalty", config.unknown_penalty, at_least=0)
    check_output("output", config.output, [config.text])
    to_file = config.output != STANDARD
    if not to_file and sys.stdout is None:
        raise ValueError("standard output is closed; pass output=FILE")
    scorer = load_line_scorer(config.checkpoint, config.device, config.batch_size, config.tokenizer)
    console = Console(stderr=True, highlight=False, markup=False)
    totals = Totals()
    with ExitStack() as stack:
        file = stack.enter_context(write_lines(config.output)) if to_file else sys.stdout.buffer
        interactive = config.text == STANDARD and is_interactive()
        # In an interactive session, the score of a line is printed before the next one is read.
        buffer = 1 if interactive else config.buffer
        texts, format_line = text_lines(config.text), _FORMATS.get(config.format, _tsv)
        if config.format == "kaldi":
            texts, format_line = _without_keys(texts)
        lines = scorer.score(texts, buffer)
        # A progress display would interfere with lines that are written to the same terminal.
        quiet = interactive or (not to_file and sys.stdout.isatty())
        for scored in lines if quiet else with_progress(lines, console):
            totals.add(scored, scorer.vocabulary.end is not None)
            file.write(format_line(scored.penalized(config.unknown_penalty)).encode("utf-8") + b"\n")
            if buffer == 1:
                file.flush()
        if not to_file:
            file.flush()
    _print_totals(console, totals, scorer.vocabulary)
    return totals


def load_line_scorer(checkpoint: str | None, device: str, batch_size: int, tokenizer: str | None = None) -> LineScorer:
    """The neural model or the n-gram model of a command's ``checkpoint=`` argument.

    Args:
        checkpoint: A bundle, a run folder, an exported model folder, ``demo``, or an ARPA file.
        device: The device of a neural model: auto, cpu or cuda.
        batch_size: Number of lines that a neural model scores at a time.
        tokenizer: How lines are split into words; None for the tokenizer of the training text of a neural model, and
            for ``whitespace`` with n-grams.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or the device or the tokenizer is not available.
    """
    path = resolve_checkpoint(checkpoint)
    if is_ngram_file(path):
        return ngram_line_scorer(path, tokenizer_named(tokenizer or "whitespace"))
    bundle = load(path, resolve_device(device), tokenizer)
    return NeuralLineScorer(bundle.model, bundle.vocabulary, batch_size, bundle.tokenize)


def check_output(key: str, output: str | None, sources: Iterable[str | None]) -> None:
    """Check that an output file does not overwrite a file that is read.

    Raises:
        ValueError: If it does, or is a folder; the message contains the key.
    """
    if output is None or output == STANDARD:
        return
    if Path(output).is_dir():
        raise ValueError(f"{key}={output} is a folder; pass a file")
    for source in sources:
        if source is not None and source != STANDARD and Path(source).resolve() == Path(output).resolve():
            raise ValueError(f"{key}={output} is already used for another input or output file; pass a different file")


def _tsv(scored: ScoredLine) -> str:
    return f"{scored.log_probability:.6f}\t{scored.line}"


def _json(scored: ScoredLine) -> str:
    words = zip(scored.words, scored.log_probabilities, scored.known, strict=True)
    content = {"line": scored.line, "log_probability": scored.log_probability, "words": list(words)}
    return json.dumps(content, ensure_ascii=False)


_FORMATS: dict[str, Callable[[ScoredLine], str]] = {"tsv": _tsv, "json": _json}


def _without_keys(lines: Iterable[str]) -> tuple[Iterator[str], Callable[[ScoredLine], str]]:
    """The texts of lines ``key word word ...``, and a function that formats the score of each text with its key.

    The function must be called once for each text, in order.  These are the files that ``steps/pytorchnn`` of Kaldi
    reads and writes: the keys are ``utterance-n``, and the scores are negative log-likelihoods of the words, followed
    by that of the end marker.
    """
    keys: deque[str] = deque()

    def texts() -> Iterator[str]:
        for number, line in enumerate(lines, start=1):
            key, *text = line.split(maxsplit=1) or [""]
            if not key:
                raise ValueError(f"line {number} is empty; with format=kaldi, each line is a key followed by words")
            keys.append(key)
            yield "".join(text)

    def with_key(scored: ScoredLine) -> str:
        losses = (f"{-log_probability:.6f}" for log_probability in scored.log_probabilities)
        return " ".join([keys.popleft(), *losses])

    return texts(), with_key


def _print_totals(console: Console, totals: Totals, vocabulary: Vocabulary) -> None:
    ends = f" and {_counted(totals.ends, 'end marker')}" if vocabulary.end is not None else ", no end markers"
    words = _counted(totals.words, "word")
    message = f"lines: {totals.lines:,}, each scored from a fresh state; {words}{ends}"
    if tokens := totals.words + totals.ends:
        perplexity = math.exp(min(-totals.log_probability / tokens, 700))
        message += f"; log-probability {totals.log_probability:,.2f} (natural), perplexity {perplexity:,.2f}"
    console.print(message, soft_wrap=True)
    share = totals.unknown / totals.words if totals.words else 0.0
    console.print(
        f"unknown words: {totals.unknown:,}, {share:.2%} of the words"
        + (f", scored as {vocabulary.unknown}" if totals.unknown else ""),
        soft_wrap=True,
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
