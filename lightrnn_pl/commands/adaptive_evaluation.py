"""The options of ``lightrnn-evaluate`` for models that adapt to the text: a neural cache and dynamic evaluation.

Both are reported beside the plain perplexity.  Their settings are chosen on the validation text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.checks import check_choice, check_count, check_flag, check_numbers
from lightrnn_pl.commands.unused_options import check_unused
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.dynamic_evaluation import METHODS, DynamicEvaluation, gradient_statistics
from lightrnn_pl.evaluation.neural_cache import check_neural_cache, neural_cache_losses, tune_neural_cache
from lightrnn_pl.evaluation.perplexity import WordLosses, summarize

DEFAULTS: dict[str, Any] = {
    "neural_cache_words": [100, 500, 2000],
    "neural_cache_theta": [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0],
    "dynamic_learning_rate": None,
    "dynamic_decay": [0.001, 0.003, 0.01],
    "dynamic_segment_words": 5,
    "dynamic_tuning_words": 10000,
    "dynamic_statistics_words": 50000,
}
"""The options and their defaults in conf/evaluate.yaml."""

LEARNING_RATES = {"sgd": [0.1, 0.2, 0.4], "rms": [0.0005, 0.001, 0.002]}
"""The learning rates to choose from if ``dynamic_learning_rate`` is null."""

BatchesOf = Callable[[Any, str], Iterable[Batch]]
"""The batches of a split of a data module."""


def adapts(config: DictConfig) -> bool:
    """Whether an option of this module is set."""
    return config.neural_cache is not False or config.dynamic_evaluation is not None


def check_adaptive_options(config: DictConfig) -> None:
    """Check the values of the options, and that none is set that would be ignored.

    Raises:
        ValueError: Naming the option.
    """
    check_flag("neural_cache", config.neural_cache)
    if config.neural_cache:
        check_neural_cache(config.neural_cache_words, config.neural_cache_theta)
    else:
        reason = "requires neural_cache=true; pass it, or omit this"
        check_unused(config, reason, **{key: DEFAULTS[key] for key in DEFAULTS if key.startswith("neural_cache")})
    if config.dynamic_evaluation is None:
        reason = "requires dynamic_evaluation=sgd or rms; pass it, or omit this"
        check_unused(config, reason, **{key: DEFAULTS[key] for key in DEFAULTS if key.startswith("dynamic")})
        return
    check_choice("dynamic_evaluation", config.dynamic_evaluation, METHODS)
    if config.dynamic_learning_rate is not None:
        check_numbers("dynamic_learning_rate", config.dynamic_learning_rate, at_least=0)
    for decay in check_numbers("dynamic_decay", config.dynamic_decay, at_least=0):
        if decay > 1:
            raise ValueError(f"every value of dynamic_decay must be at most 1, got {decay}")
    for key in ("dynamic_segment_words", "dynamic_tuning_words", "dynamic_statistics_words"):
        check_count(key, config[key])
    if config.dynamic_evaluation != "rms":
        reason = "requires dynamic_evaluation=rms; pass it, or omit this"
        check_unused(config, reason, dynamic_statistics_words=DEFAULTS["dynamic_statistics_words"])


def check_adaptive_data(config: DictConfig, tuning_data: Any, datamodule: Any) -> None:
    """Check that the texts can be read as the options require.

    Args:
        config: The configuration of ``lightrnn-evaluate``.
        tuning_data: The data module whose validation split the settings are chosen on.
        datamodule: The data module to evaluate on.

    Raises:
        ValueError: Naming the setting and the remedy.
    """
    option = "neural_cache=true" if config.neural_cache else f"dynamic_evaluation={config.dynamic_evaluation}"
    if "valid" not in tuning_data.splits:
        raise ValueError(f"{option} requires a validation text to choose its settings on; set data.valid")
    for data in (tuning_data, datamodule):
        if data.batching != "stream":
            raise ValueError(
                f"{option} reads the lines in the order of the text, but the model was trained with data.batching="
                f"{data.batching}; omit it"
            )
        if config.dynamic_evaluation is not None and data.eval_batch_size != 1:
            raise ValueError(
                f"dynamic_evaluation={config.dynamic_evaluation} reads the text as one stream, but eval_batch_size is "
                f"{data.eval_batch_size}; set eval_batch_size=1"
            )
    if config.dynamic_evaluation == "rms" and "train" not in tuning_data.splits:
        raise ValueError("dynamic_evaluation=rms requires the training text; set dynamic_evaluation=sgd")


def evaluate_adaptively(
    config: DictConfig,
    bundle: Bundle,
    tuning_data: Any,
    evaluated: Mapping[str, Any],
    batches_of: BatchesOf,
    device: torch.device,
) -> dict[str, Any]:
    """Choose the settings on the validation text, and evaluate with them.

    Args:
        config: The configuration of ``lightrnn-evaluate``.
        bundle: The model, which is not changed.
        tuning_data: The data module whose validation split the settings are chosen on.
        evaluated: The splits to evaluate by name, each with the data module it is read from.
        batches_of: Reads a split of a data module.
        device: The device of the model.

    Returns:
        For each option: its settings, ``tuned_on``, and the metrics by split.
    """
    report: dict[str, Any] = {}

    def add(name: str, settings: dict[str, Any], tokens: int, measure: Callable[[Iterable[Batch]], WordLosses]) -> None:
        results = {
            split: summarize(measure(batches_of(source, split)), bundle.vocabulary).as_dict()
            for split, source in evaluated.items()
        }
        tuned_on = {"corpus": tuning_data.title, "split": "valid", "tokens": tokens}
        report[name] = {**settings, "tuned_on": tuned_on, "splits": results}

    if config.neural_cache:
        sizes, thetas = check_neural_cache(config.neural_cache_words, config.neural_cache_theta)
        cache, tokens = tune_neural_cache(bundle.model, batches_of(tuning_data, "valid"), device, sizes, thetas)
        settings = {"words": cache.words, "theta": cache.theta, "weight": cache.weight}
        add("neural_cache", settings, tokens, lambda batches: neural_cache_losses(bundle.model, batches, device, cache))
    if config.dynamic_evaluation is not None:
        segment_words, statistics = config.dynamic_segment_words, None
        if config.dynamic_evaluation == "rms":
            batches = batches_of(tuning_data, "train")
            max_words = config.dynamic_statistics_words
            statistics = gradient_statistics(bundle.model, batches, device, segment_words, max_words)
        dynamic = DynamicEvaluation(bundle.model, device, segment_words, statistics)
        rates = list(config.dynamic_learning_rate or LEARNING_RATES[config.dynamic_evaluation])
        adaptation, tokens = dynamic.tune(
            lambda: batches_of(tuning_data, "valid"), rates, list(config.dynamic_decay), config.dynamic_tuning_words
        )
        settings = {
            "method": config.dynamic_evaluation,
            "segment_words": segment_words,
            "learning_rate": adaptation.learning_rate,
            "decay": adaptation.decay,
        }
        add("dynamic_evaluation", settings, tokens, lambda batches: dynamic.losses(batches, adaptation))
    return report


def print_adaptive(console: Console, plain: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """Print the perplexities of ``report`` beside the plain ones, by split."""
    table = Table(title="perplexity of adaptive evaluation, settings chosen on valid", title_justify="left")
    table.add_column("evaluation", overflow="fold")
    for split in plain:
        table.add_column(split, justify="right")
    table.add_row("plain", *(f"{metrics['perplexity']:.2f}" for metrics in plain.values()))
    for name, results in report.items():
        settings = ", ".join(
            f"{key.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
            for key, value in results.items()
            if key not in ("tuned_on", "splits")
        )
        perplexities = (f"{results['splits'][split]['perplexity']:.2f}" for split in plain)
        table.add_row(Text(f"{name.replace('_', ' ')} ({settings})"), *perplexities)
    console.print(table)
