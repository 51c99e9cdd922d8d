"""``lightrnn-evaluate interpolate=...``: a neural model mixed with n-grams and a cache (LightRNN, Table 4).

All members score the very same tokens: the words and end markers that the neural model is judged on, with its
vocabulary and its unknown word.  What they may look at differs: the neural model reads as its protocol says, mostly
across lines; n-grams start anew at each line; the cache reaches across lines.  Weights are those that make the
validation text most probable; test text has no part in them.
"""

from __future__ import annotations

import copy
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

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.batches import SentenceBatches, StreamBatches
from lightrnn_pl.evaluation.perplexity import hidden_states, perplexity
from lightrnn_pl.ngrams.members import Member, check_estimation, estimate_member, read_member
from lightrnn_pl.ngrams.mixture import best_weights, mixed
from lightrnn_pl.ngrams.unigram_cache import cache_log_probabilities, check_cache
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.vocabulary import Vocabulary

Logs = NDArray[np.float64]


class CacheMember:
    """A unigram cache as a partner in a mixture.

    Args:
        vocabulary: Whose ids the tokens will be.
        num_words: How many words back it reaches.
        decay: What a word weighs relative to the word read after it.
    """

    def __init__(self, vocabulary: Vocabulary, num_words: int, decay: float) -> None:
        check_cache(num_words, decay)
        self.name = f"unigram cache, {num_words} words"
        self._size, self._num_words, self._decay = len(vocabulary), num_words, float(decay)
        self.facts: dict[str, Any] = {"words": num_words, "decay": self._decay}

    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """As ``Member`` says; -inf for words that are not in the cache."""
        return cache_log_probabilities(tokens, self._size, self._num_words, self._decay)


def check_interpolation(config: DictConfig, bundle: Bundle, home: Any) -> list[str]:
    """What ``config.interpolate`` names, checked as far as it can be before any text is read.

    Args:
        config: Of ``lightrnn-evaluate``.
        bundle: The neural model.
        home: The corpus to estimate and to tune on, a data module.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a member is named twice or not at all or cannot be made, or there is nothing to tune on, or no
            end marker.
    """
    given = config.interpolate
    names = [str(name) for name in given] if OmegaConf.is_list(given) else [str(given)]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"interpolate={names} must name different models: kn, cache, or files")
    if bundle.vocabulary.end_id is None:
        raise ValueError(
            "interpolate needs a model that predicts ends of lines, and this one was trained with "
            "data.vocabulary.end=null: without them there is no telling where an n-gram's line starts"
        )
    if "valid" not in home.splits:
        raise ValueError("interpolate has no text to tune the weights on; set data.valid")
    for name in names:
        if name == "cache":
            check_cache(config.cache_words, config.cache_decay)
        elif name == "kn":
            check_estimation(config.interpolate_order, config.interpolate_estimator, config.interpolate_arpa)
        elif not Path(name).is_file():
            raise FileNotFoundError(
                f"interpolate={name} is neither kn nor cache nor a file (working folder: {Path.cwd()})"
            )
    return names


def interpolate(
    config: DictConfig, bundle: Bundle, home: Any, judged: Mapping[str, Any], device: torch.device
) -> dict[str, Any]:
    """Tune the weights on the validation text of ``home`` and judge every member and the mixture.

    Args:
        config: Of ``lightrnn-evaluate``.
        bundle: The neural model.
        home: The corpus to estimate and to tune on, a data module.
        judged: The splits to judge, by name, each with the data module it is read from.
        device: Where the neural model is.

    Returns:
        ``members`` (name, weight, facts, figures by split), ``combined`` (figures by split) and ``tuned_on``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: As ``check_interpolation`` does, or for a member that cannot be made.
    """
    names = check_interpolation(config, bundle, home)
    members = [_member(name, config, bundle.vocabulary, home) for name in names]
    tuned_tokens, tuned = _all_scores(bundle, home, "valid", members, device)
    weights = best_weights(tuned)
    end = bundle.vocabulary.end_id
    splits: dict[str, list[dict[str, Any]]] = {}
    for split, source in judged.items():
        if split == "valid" and source is home:
            tokens, logs = tuned_tokens, tuned
        else:
            tokens, logs = _all_scores(bundle, source, split, members, device)
        splits[split] = [_figures(scores, tokens != end) for scores in (*logs, mixed(logs, weights))]
    every = [("neural model", {}), *((member.name, member.facts) for member in members)]
    return {
        "tuned_on": {"corpus": home.title, "split": "valid", "tokens": len(tuned_tokens)},
        "context": "n-grams start anew at each line; the cache reaches across lines",
        "members": [
            {
                "name": name,
                "weight": float(weights[place]),
                **facts,
                "splits": {split: figures[place] for split, figures in splits.items()},
            }
            for place, (name, facts) in enumerate(every)
        ],
        "combined": {split: figures[-1] for split, figures in splits.items()},
    }


def _member(name: str, config: DictConfig, vocabulary: Vocabulary, home: Any) -> Member:
    if name == "cache":
        return CacheMember(vocabulary, config.cache_words, config.cache_decay)
    if name != "kn":
        return read_member(name, vocabulary)
    tokens = _targets(home.loader_for(vocabulary, "train").tokens, vocabulary)
    return estimate_member(
        tokens, vocabulary, config.interpolate_order, config.interpolate_estimator, config.interpolate_arpa
    )


def _targets(tokens: NDArray[np.integer], vocabulary: Vocabulary) -> NDArray[np.integer]:
    """All tokens but begin markers."""
    return tokens if vocabulary.begin_id is None else tokens[tokens != vocabulary.begin_id]


def _all_scores(
    bundle: Bundle, source: Any, split: str, members: Sequence[Member], device: torch.device
) -> tuple[NDArray[np.integer], Logs]:
    """The tokens of a split, and what the neural model and each member make of them, shape (1 + members, N)."""
    loader = source.loader_for(bundle.vocabulary, split)
    tokens = _targets(loader.tokens, bundle.vocabulary)
    neural = scores_in_order(bundle.model, loader, device)
    return tokens, np.stack([neural, *(member.log_probabilities(tokens) for member in members)])


@torch.no_grad()
def scores_in_order(model: LanguageModel, loader: StreamBatches | SentenceBatches, device: torch.device) -> Logs:
    """Natural-log probability of each target of a text in the text's order, whatever the order of the batches, (N,)."""
    # The same batches of a text that counts its tokens: its targets say where those of the real text stand.
    counting = copy.copy(loader)
    counting.tokens, counting.ignored = np.arange(len(loader.tokens), dtype=np.int32), None
    scores = np.full(len(loader.tokens), np.nan)
    batches: Iterable[Any] = hidden_states(model, loader, device)
    for (hidden, targets, mask), places in zip(batches, counting, strict=True):
        found = model.output.log_probability(hidden, targets)[mask].double().cpu().numpy()
        scores[places.targets[mask.cpu()].numpy()] = found
    is_target = np.ones(len(scores), dtype=np.bool_) if loader.ignored is None else loader.tokens != loader.ignored
    assert not np.isnan(scores[is_target]).any(), "a target of the text is in no batch"
    return scores[is_target]


def _figures(logs: Logs, not_end: NDArray[np.bool_]) -> dict[str, Any]:
    """Plain numbers; None for what is infinite, because JSON has no infinity."""
    nll = -float(logs.mean())
    without_end = -float(logs[not_end].mean()) if not_end.any() else math.nan
    figures = {"nll": nll, "perplexity": perplexity(nll), "perplexity_without_end": perplexity(without_end)}
    plain = {key: value if math.isfinite(value) else None for key, value in figures.items()}
    return {**plain, "impossible_tokens": int(np.isneginf(logs).sum())}


def print_interpolation(console: Console, report: Mapping[str, Any]) -> None:
    """The members, the mixture and what there is to know of them, as tables."""
    splits = list(report["combined"])
    table = Table(title=f"interpolated, weights tuned on {report['tuned_on']['split']}", title_justify="left")
    table.add_column("model", overflow="fold")
    for column in ("weight", *splits):
        table.add_column(column, justify="right")
    for member in report["members"]:
        table.add_row(Text(member["name"]), f"{member['weight']:.4f}", *_cells(member["splits"]))
    table.add_row("all combined", "1", *_cells(report["combined"]))
    console.print(table)
    facts = Table(title="what was mixed in", title_justify="left", show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("context", report["context"])
    for member in report["members"][1:]:
        facts.add_section()
        facts.add_row(Text(member["name"], style="bold"))
        shown = {key: value for key, value in member.items() if key not in ("name", "weight", "splits", "by_order")}
        for key, value in shown.items():
            if value is not None:
                facts.add_row(key.replace("_", " "), Text(str(value)))
        if note := _note(member):
            facts.add_row("note", note)
    console.print(facts)


def _cells(by_split: Mapping[str, Mapping[str, Any]]) -> list[str]:
    values = [figures["perplexity"] for figures in by_split.values()]
    return ["infinite" if value is None else f"{value:.2f}" for value in values]


def _note(member: Mapping[str, Any]) -> str:
    """Whether what was mixed in is a distribution over the vocabulary, where that is in question."""
    told = []
    if member.get("words_without_ngrams"):
        told.append(
            "words of the vocabulary that it does not have share its unknown word's probability evenly, if it has one"
        )
    if member.get("words_outside_the_vocabulary"):
        told.append(
            "what it gives to words outside the vocabulary is lost, so its probabilities sum to less than one and "
            "perplexities with it are upper bounds"
        )
    elif member.get("words_outside_the_vocabulary", 0) is None:
        told.append("a kenlm file does not tell its words; where some are not in the vocabulary, what they get is lost")
    return "; ".join(told)
