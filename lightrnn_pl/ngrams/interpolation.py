"""Interpolation of a neural model with n-grams and a cache: ``lightrnn-evaluate interpolate=...`` (LightRNN, Table 4).

All members score the same tokens: the words and end markers on which the neural model is evaluated, with its vocabulary
and its unknown word.  Their contexts differ: the neural model reads as its protocol specifies, usually across lines.
The context of n-grams is reset at each line if the vocabulary has an end marker, and extends across lines if it has
none (LightRNN, Table 5).  The cache extends across lines.

The weights maximize the likelihood of the validation text.  Test text is not used for tuning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.batches import SentenceBatches, StreamBatches, over_positions, target_mask
from lightrnn_pl.evaluation.perplexity import hidden_states, perplexity
from lightrnn_pl.evaluation.progress import activity, with_progress
from lightrnn_pl.ngrams.members import Member, check_estimation, estimate_member, read_member
from lightrnn_pl.ngrams.mixture import best_weights, mix
from lightrnn_pl.ngrams.next_words import Mixture
from lightrnn_pl.ngrams.ngram_model import ABSENT
from lightrnn_pl.ngrams.unigram_cache import cache_log_probabilities, check_cache
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.vocabulary import Vocabulary

Logs = NDArray[np.float64]


class CacheMember(Member):
    """A unigram cache as a member of a mixture.

    Args:
        vocabulary: The vocabulary of the tokens.
        num_words: Size of the cache in words.
        decay: The weight of a word relative to the word after it.
    """

    def __init__(self, vocabulary: Vocabulary, num_words: int, decay: float) -> None:
        check_cache(num_words, decay)
        self.name = f"unigram cache, {num_words} words"
        self._size, self._num_words, self._decay = len(vocabulary), num_words, float(decay)
        self.details: dict[str, Any] = {"words": num_words, "decay": self._decay}

    @override
    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """Natural-log probability of each token, shape (N,); -inf for words outside the cache."""
        return cache_log_probabilities(tokens, self._size, self._num_words, self._decay)

    @override
    def next_log_probabilities(self, history: NDArray[np.integer]) -> Logs:
        window = np.asarray(history[-self._num_words :], dtype=np.int64)
        if not len(window):
            return np.full(self._size, -math.log(self._size))
        weights = self._decay ** np.arange(len(window) - 1, -1, -1)
        with np.errstate(divide="ignore"):
            return np.log(np.bincount(window, weights, self._size) / weights.sum())


def check_interpolation(config: DictConfig, bundle: Bundle, tuning_data: Any) -> list[str]:
    """The members named by ``config.interpolate``, after all checks that do not require reading text.

    Args:
        config: The configuration of ``lightrnn-evaluate``.
        bundle: The neural model.
        tuning_data: The data module whose training split n-grams are estimated on, and whose validation split weights
            are tuned on.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If members are missing, duplicated or cannot be created, or there is no validation text.
    """
    members = config.interpolate
    names = [str(name) for name in members] if OmegaConf.is_list(members) else [str(members)]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"interpolate={names} must name distinct models: kn, cache, or files")
    if "valid" not in tuning_data.splits:
        raise ValueError("interpolate requires a validation text to tune the weights on; set data.valid")
    for name in names:
        if name == "cache":
            check_cache(config.cache_words, config.cache_decay)
        elif name == "kn":
            # The size of another corpus is not known before it has been read.
            num_tokens = int(bundle.vocabulary.counts.sum()) if config.get("data") is None else 0
            check_estimation(
                config.interpolate_order,
                config.interpolate_estimator,
                config.interpolate_arpa,
                bundle.vocabulary,
                num_tokens,
            )
        elif not Path(name).is_file():
            raise FileNotFoundError(
                f"interpolate={name} is not kn, cache, or an existing file (current working directory: {Path.cwd()})"
            )
    return names


def interpolate(
    config: DictConfig, bundle: Bundle, tuning_data: Any, evaluated: Mapping[str, Any], device: torch.device
) -> dict[str, Any]:
    """Tune the weights on the validation text, and evaluate every member and the mixture.

    Args:
        config: The configuration of ``lightrnn-evaluate``.
        bundle: The neural model.
        tuning_data: The data module whose training split n-grams are estimated on, and whose validation split weights
            are tuned on.
        evaluated: The splits to evaluate by name, each with the data module it is read from.
        device: The device of the neural model.

    Returns:
        ``members`` (name, weight, details, metrics by split), ``combined`` (metrics by split) and ``tuned_on``.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a member is invalid or cannot be created; see :func:`check_interpolation`.
    """
    names = check_interpolation(config, bundle, tuning_data)
    members = [_create_member(name, config, bundle.vocabulary, tuning_data) for name in names]
    tuning_tokens, tuning_logs = _all_scores(bundle, tuning_data, "valid", members, device)
    with activity("tuning weights"):
        weights = best_weights(tuning_logs)
    splits: dict[str, list[dict[str, Any]]] = {}
    for split, source in evaluated.items():
        if split == "valid" and source is tuning_data:
            tokens, logs = tuning_tokens, tuning_logs
        else:
            tokens, logs = _all_scores(bundle, source, split, members, device)
        not_end = tokens != (ABSENT if bundle.vocabulary.end_id is None else bundle.vocabulary.end_id)
        splits[split] = [_metrics(scores, not_end) for scores in (*logs, mix(logs, weights))]
        if config.keyboard:
            loader = source.loader_for(bundle.vocabulary, split)
            meters = Mixture(bundle, members, weights).measure_keyboard(loader, config.keyboard_words)
            for metrics, meter in zip(splits[split], meters, strict=True):
                metrics["keyboard"] = meter.as_dict()
    ngram_context = "across lines" if bundle.vocabulary.end_id is None else "reset at each line"
    described = [("neural model", {}), *((member.name, member.details) for member in members)]
    return {
        "tuned_on": {"corpus": tuning_data.title, "split": "valid", "tokens": len(tuning_tokens)},
        "context": f"n-grams: {ngram_context}; cache: across lines",
        "members": [
            {
                "name": name,
                "weight": float(weights[index]),
                **details,
                "splits": {split: metrics[index] for split, metrics in splits.items()},
            }
            for index, (name, details) in enumerate(described)
        ],
        "combined": {split: metrics[-1] for split, metrics in splits.items()},
    }


def _create_member(name: str, config: DictConfig, vocabulary: Vocabulary, tuning_data: Any) -> Member:
    if name == "cache":
        return CacheMember(vocabulary, config.cache_words, config.cache_decay)
    if name != "kn":
        with activity(f"reading {name}"):
            return read_member(name, vocabulary)
    tokens = _targets(tuning_data.loader_for(vocabulary, "train").tokens, vocabulary)
    order = config.interpolate_order
    with activity(f"estimating a {order}-gram"):
        return estimate_member(tokens, vocabulary, order, config.interpolate_estimator, config.interpolate_arpa)


def _targets(tokens: NDArray[np.integer], vocabulary: Vocabulary) -> NDArray[np.integer]:
    """All tokens except begin markers."""
    return tokens if vocabulary.begin_id is None else tokens[tokens != vocabulary.begin_id]


def _all_scores(
    bundle: Bundle, source: Any, split: str, members: Sequence[Member], device: torch.device
) -> tuple[NDArray[np.integer], Logs]:
    """The tokens of a split and their log-probabilities under the neural model and each member, (1 + members, N)."""
    loader = source.loader_for(bundle.vocabulary, split)
    tokens = _targets(loader.tokens, bundle.vocabulary)
    scores = [scores_in_order(bundle.model, loader, device, f"batches of {split}")]
    for member in members:
        with activity(f"scoring {split}: {member.name}"):
            scores.append(member.log_probabilities(tokens))
    return tokens, np.stack(scores)


@torch.no_grad()
def scores_in_order(
    model: LanguageModel, loader: StreamBatches | SentenceBatches, device: torch.device, unit: str = "batches"
) -> Logs:
    """Natural-log probability of each target in the order of the text, not of the batches, (N,).

    Args:
        model: The neural model.
        loader: The text.
        device: The device of the model.
        unit: What the progress display counts.
    """
    scores = np.full(len(loader.tokens), np.nan)
    batches: Iterable[Any] = hidden_states(model, with_progress(loader, Console(stderr=True), unit), device)
    for (hidden, targets, mask), positions in zip(batches, over_positions(loader), strict=True):
        target_scores = model.output.log_probability(hidden, targets)[mask].double().cpu().numpy()
        scores[positions.targets[mask.cpu()].numpy()] = target_scores
    is_target = target_mask(loader)
    assert not np.isnan(scores[is_target]).any(), "a target is missing from the batches"
    return scores[is_target]


def _metrics(logs: Logs, not_end: NDArray[np.bool_]) -> dict[str, Any]:
    """The metrics of a model for JSON.  Infinite values are None."""
    nll = -float(logs.mean())
    without_end = -float(logs[not_end].mean()) if not_end.any() else math.nan
    metrics = {"nll": nll, "perplexity": perplexity(nll), "perplexity_without_end": perplexity(without_end)}
    plain = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
    return {**plain, "impossible_tokens": int(np.isneginf(logs).sum())}


def print_interpolation(console: Console, report: Mapping[str, Any]) -> None:
    """Print a table of the members and the mixture, and a table with details of the members."""
    splits = list(report["combined"])
    table = Table(title=f"interpolation, weights tuned on {report['tuned_on']['split']}", title_justify="left")
    table.add_column("model", overflow="fold")
    for column in ("weight", *splits):
        table.add_column(column, justify="right")
    for member in report["members"]:
        table.add_row(Text(member["name"]), f"{member['weight']:.4f}", *_cells(member["splits"]))
    table.add_row("all combined", "1", *_cells(report["combined"]))
    console.print(table)
    details = Table(title="members", title_justify="left", show_header=False)
    details.add_column(no_wrap=True)
    details.add_column(overflow="fold")
    details.add_row("context", report["context"])
    for member in report["members"][1:]:
        details.add_section()
        details.add_row(Text(member["name"], style="bold"))
        shown = {key: value for key, value in member.items() if key not in ("name", "weight", "splits", "by_order")}
        for key, value in shown.items():
            if value is not None:
                details.add_row(key.replace("_", " "), Text(str(value)))
        if note := _note(member):
            details.add_row("note", note)
    console.print(details)


def _cells(by_split: Mapping[str, Mapping[str, Any]]) -> list[str]:
    values = [metrics["perplexity"] for metrics in by_split.values()]
    return ["infinite" if value is None else f"{value:.2f}" for value in values]


def _note(member: Mapping[str, Any]) -> str:
    """Remarks on a member whose probabilities may not be a distribution over the vocabulary."""
    remarks = []
    if member.get("words_without_ngrams"):
        remarks.append(
            "vocabulary words that this model does not contain share the probability of its unknown word equally "
            "(if it has one)"
        )
    if member.get("words_outside_the_vocabulary"):
        remarks.append(
            "it assigns probability to words outside the vocabulary, so its probabilities sum to less than one and "
            "perplexities are upper bounds"
        )
    elif member.get("words_outside_the_vocabulary", 0) is None:
        remarks.append(
            "the words in a KenLM binary file cannot be listed; if some are outside the vocabulary, perplexities are "
            "upper bounds"
        )
    return "; ".join(remarks)
