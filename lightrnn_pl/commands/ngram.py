"""``lightrnn-ngram``: estimate, prune, evaluate and use an n-gram model, the baseline of every neural model."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console

from lightrnn_pl.checks import check_count, check_flag, check_number
from lightrnn_pl.commands.keyboard_table import print_keyboards
from lightrnn_pl.commands.next_word_output import print_next_words, report_unknown_words
from lightrnn_pl.commands.score import check_output
from lightrnn_pl.commands.unused_options import check_unused
from lightrnn_pl.evaluation.keyboard import KeyboardMeter
from lightrnn_pl.evaluation.perplexity import WordLosses, summarize
from lightrnn_pl.evaluation.progress import activity, with_progress
from lightrnn_pl.files import write_json
from lightrnn_pl.inference.text_lines import require_file, text_lines
from lightrnn_pl.ngrams.arpa import BEGIN, END, UNKNOWN, read_arpa, vocabulary_of, write_arpa
from lightrnn_pl.ngrams.kneser_ney import estimate_kneser_ney
from lightrnn_pl.ngrams.members import NgramMember, check_estimation
from lightrnn_pl.ngrams.next_words import most_likely
from lightrnn_pl.ngrams.ngram_model import NgramModel
from lightrnn_pl.ngrams.pruning import prune
from lightrnn_pl.tokenization import Tokenizer, tokenizer_named
from lightrnn_pl.vocabulary import Vocabulary, VocabularyRules

_BLOCK = 64
"""Number of words whose suggestions are ranked at a time."""


def ngram(config: DictConfig) -> dict[str, Any]:
    """Estimate or read the model, prune, write and evaluate it, print its next words, and return a report.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a setting is invalid or a file cannot be read; the message names the key or the line.
    """
    _check(config)
    if config.train is not None:
        model, vocabulary = _estimate(config)
    else:
        with activity(f"reading {config.arpa}"):
            model = read_arpa(config.arpa)
            vocabulary = vocabulary_of(model)
    if config.prune:
        with activity("pruning"):
            model = prune(model, config.prune)
    report: dict[str, Any] = {"ngrams": model.num_ngrams, "words": len(vocabulary)}
    console = Console(highlight=False, markup=False)
    if config.output is not None:
        with activity(f"writing {config.output}"):
            write_arpa(model, config.output)
        report["bytes"] = {str(config.output): Path(config.output).stat().st_size}
    if config.binary is not None:
        with activity(f"writing {config.binary}"):
            _write_binary(model, config.binary, config.quantize)
        report.setdefault("bytes", {})[str(config.binary)] = Path(config.binary).stat().st_size
    member = NgramMember(model, vocabulary, f"{model.order}-gram")
    if config.next is None:
        console.print(
            f"{model.order}-gram, {sum(model.num_ngrams):,} n-grams: {', '.join(f'{n:,}' for n in model.num_ngrams)}"
        )
        for path, size in report.get("bytes", {}).items():
            console.print(f"{path}: {size:,} bytes")
    else:
        prompt = "" if config.prompt is None else str(config.prompt)
        words = tokenizer_named(config.tokenizer)(prompt)
        report_unknown_words(words, vocabulary)
        prefix = "" if config.prefix is None else str(config.prefix)
        logs = member.next_log_probabilities(vocabulary.encode(words))
        print_next_words(most_likely(logs, vocabulary, config.next, prefix, config.unknown), prefix)
    if config.text is not None:
        report["text"] = _evaluate(config, member, vocabulary, console)
    if config.json:
        write_json(config.json, report)
    return report


def _check(config: DictConfig) -> None:
    if (config.train is None) == (config.arpa is None):
        raise ValueError("pass train=TEXT to estimate a model, or arpa=FILE to read an ARPA file")
    if config.arpa is not None:
        check_unused(config, "applies to train=TEXT; omit it", order=5, min_count=1)
    for key in ("train", "arpa", "text"):
        if config[key] is not None:
            require_file(key, config[key])
    check_count("order", config.order)
    check_count("min_count", config.min_count)
    check_number("prune", config.prune, at_least=0)
    check_flag("keyboard", config.keyboard)
    check_flag("unknown", config.unknown)
    if config.next is not None:
        check_count("next", config.next)
    else:
        check_unused(config, "requires next=N; pass it, or omit this", prompt=None, prefix=None, unknown=False)
    if config.text is None:
        check_unused(config, "requires text=FILE; pass it, or omit this", keyboard=False)
    if not config.keyboard:
        check_unused(config, "requires keyboard=true; pass it, or omit this", keyboard_words=20000)
    elif config.keyboard_words is not None:
        check_count("keyboard_words", config.keyboard_words)
    if config.binary is None:
        check_unused(config, "requires binary=FILE; pass it, or omit this", quantize=8)
    elif shutil.which("build_binary") is None:
        raise ValueError(
            f"binary={config.binary} requires build_binary of KenLM on the PATH; pass output=FILE.arpa instead"
        )
    if config.quantize is not None:
        check_number("quantize", config.quantize, 1, 25)
    sources = [config.train, config.arpa, config.text]
    for key in ("output", "binary", "json"):
        check_output(key, config[key], sources)
        sources.append(config[key])


def _estimate(config: DictConfig) -> tuple[NgramModel, Vocabulary]:
    """A modified Kneser-Ney model of ``config.train`` and its vocabulary."""
    counts: Counter[str] = Counter()
    tokenize = tokenizer_named(config.tokenizer)
    for line in with_progress(text_lines(config.train), Console(stderr=True), "lines read"):
        counts.update([*tokenize(line), END])
    vocabulary = VocabularyRules(config.min_count, unknown=UNKNOWN, end=END).build(counts)
    check_estimation(config.order, "own", None, vocabulary, counts.total())
    tokens = _tokens(config.train, tokenize, vocabulary)
    with activity(f"estimating a {config.order}-gram"):
        model, _ = estimate_kneser_ney(tokens, len(vocabulary), vocabulary.end_id, None, config.order)
    return replace(model, words=(*vocabulary.words, BEGIN)), vocabulary


def _tokens(path: str, tokenize: Tokenizer, vocabulary: Vocabulary) -> NDArray[np.int32]:
    """The ids of a text with an end marker after each line."""

    def lines() -> Iterator[NDArray[np.int32]]:
        read = with_progress(text_lines(path), Console(stderr=True), "lines encoded")
        for number, line in enumerate(read, start=1):
            try:
                yield vocabulary.encode([*tokenize(line), *([END] if vocabulary.end is not None else [])])
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error

    return np.concatenate([np.empty(0, np.int32), *lines()])


def _evaluate(config: DictConfig, member: NgramMember, vocabulary: Vocabulary, console: Console) -> dict[str, Any]:
    """The perplexity of ``config.text`` and, if requested, its keyboard numbers."""
    tokens = _tokens(config.text, tokenizer_named(config.tokenizer), vocabulary)
    with activity(f"scoring {config.text}"):
        losses = np.bincount(tokens, -member.log_probabilities(tokens), len(vocabulary))
    occurrences = np.bincount(tokens, minlength=len(vocabulary)).astype(np.float64)
    result = summarize(WordLosses(torch.from_numpy(losses), torch.from_numpy(occurrences)), vocabulary)
    console.print(
        f"perplexity {result.perplexity:.2f}, without end markers {result.perplexity_without_end:.2f}; "
        f"{result.tokens:,} tokens, {result.end_tokens:,} end markers, {result.unknown_tokens:,} unknown words"
    )
    report = {"file": str(config.text), **result.as_dict()}
    if config.keyboard:
        meter = KeyboardMeter(vocabulary)
        read = tokens[: config.keyboard_words]
        for start in with_progress(range(0, len(read), _BLOCK), Console(stderr=True), "blocks of words"):
            block = read[start : start + _BLOCK]
            logs = [member.next_log_probabilities(tokens[: start + offset]) for offset in range(len(block))]
            meter.add(np.stack(logs), block.astype(np.int64))
        report["keyboard"] = meter.as_dict()
        print_keyboards({Path(config.text).name: report["keyboard"]})
    return report


def _write_binary(model: NgramModel, path: str, bits: int | None) -> None:
    """Write a KenLM trie, with probabilities and back-off weights quantized to ``bits`` bits unless it is None."""
    program = shutil.which("build_binary")
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="lightrnn-ngram-") as folder:
        arpa = Path(folder, "model.arpa")
        write_arpa(model, arpa)
        quantize = [] if bits is None else ["-q", str(bits), "-b", str(bits), "-a", "64"]
        command = [program, *quantize, "trie", str(arpa), str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no error message"])[-1]
            raise ValueError(f"build_binary failed: {reason}; pass output=FILE.arpa instead of binary")
