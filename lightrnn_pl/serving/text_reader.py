"""Queries that the web page makes about a model: next words, scores, word lookups and continuations.

The decoding states after recently read prefixes are cached, so a keystroke costs one decoding step instead of reading
the whole text again.  All results are exact.

This module is independent of HTTP.  It is not thread-safe: ``next_words`` and ``score`` share the prefix cache and must
not run concurrently.  ``generate`` and ``word`` do not use the cache.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lightrnn_pl.allocation.allocation_file import code_names
from lightrnn_pl.allocation.inspection import neighbors, similar_words
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.checks import check_count
from lightrnn_pl.inference.completion import log_probabilities_of, spellings_of
from lightrnn_pl.inference.decoding import DecodingState
from lightrnn_pl.inference.prediction import excluded_words


@dataclass(frozen=True)
class _Prefix:
    """The decoding state after a text, and the log-probability of each of its words."""

    state: DecodingState
    log_probabilities: tuple[float, ...]


class TextReader:
    """Reads texts with a model and caches the states after their prefixes.

    Args:
        bundle: A trained model with its vocabulary.
        num_prefixes: Maximum number of cached prefixes; the least recently used ones are evicted.
    """

    def __init__(self, bundle: Bundle, num_prefixes: int = 1024) -> None:
        check_count("num_prefixes", num_prefixes)
        self.bundle = bundle
        self.steps = 0
        """Number of words that the model has read, without those found in the cache."""
        self._num_prefixes = num_prefixes
        self._prefixes: OrderedDict[tuple[int, ...], _Prefix] = OrderedDict()
        self._spellings = spellings_of(bundle.vocabulary)
        bundle.tokenize("")  # reports a missing package before the first request

    def next_words(self, text: str, k: int = 10, complete: bool = False, unknown: bool = False) -> dict[str, Any]:
        """Return the k most likely next words with their probabilities, best first.

        Args:
            text: A text, read from the start of a line and split into words by the tokenizer of the bundle.
            k: Number of words, limited by the number of candidates.
            complete: Treat a word at the end of the text as a prefix.  Only words that start with it,
                ignoring case, are returned.  Their probabilities are still relative to the full vocabulary.  If no
                word starts with the prefix, it is read as a complete word.
            unknown: Whether the unknown word is a candidate.

        Returns:
            A dictionary with

            - ``words``: pairs of (word, probability);
            - ``read``: number of words read before them;
            - ``unknown``: indices of the words read that are not in the vocabulary;
            - ``rows_opened``: number of rows evaluated by the exact search, or None if no search was needed;
            - ``begins``: the prefix, or None;
            - ``whole``: whether the prefix is itself a word of the vocabulary;
            - ``matching`` and ``share``: number of candidates, and their total probability (1 without a prefix).
        """
        check_count("k", k)
        vocabulary, decoder = self.bundle.vocabulary, self.bundle.decoder
        excluded = excluded_words(vocabulary, unknown)
        words = self.bundle.tokenize(text)
        matching = np.empty(0, dtype=np.int64)
        if complete and words and text.lower().endswith(words[-1].lower()):
            matching = self._spellings.words_starting_with(words[-1], excluded)
        context = words[:-1] if len(matching) else words
        state = self._read(vocabulary.encode(context).tolist()).state
        result: dict[str, Any] = {
            "read": len(context),
            "unknown": [index for index, word in enumerate(context) if word not in vocabulary],
            "rows_opened": None,
            "begins": words[-1] if len(matching) else None,
            "whole": len(matching) > 0 and words[-1] in vocabulary,
            "matching": len(matching) or len(vocabulary) - len(excluded),
            "share": 1.0,
        }
        if len(matching):
            ids = torch.from_numpy(matching).to(decoder.device)
            probabilities = log_probabilities_of(decoder, state, ids).double().exp()
            result["share"] = min(1.0, float(probabilities.sum()))
            best, indices = probabilities.topk(min(k, len(ids)))
            found = ids[indices]
        else:
            searched = decoder.search(state, k, excluded=excluded)
            candidates = searched.words[0] >= 0
            best, found = searched.log_probabilities[0, candidates].double().exp(), searched.words[0, candidates]
            if decoder.num_codes > 1:
                result["rows_opened"] = int(searched.opened[0])
        result["words"] = list(zip(vocabulary.decode(found.tolist()), best.tolist(), strict=True))
        return result

    def score(self, text: str) -> dict[str, Any]:
        """Return the natural-log probability of each word of a line.

        Returns:
            A dictionary with

            - ``words``: for each word its ``word``, ``log_probability`` (None for minus infinity), ``known`` and
              ``end``.  The last one is the end marker if the vocabulary has one;
            - ``log_probability``: the sum over all words;
            - ``perplexity``: the perplexity per token.

            Both totals are None if there is nothing to score.
        """
        vocabulary, decoder = self.bundle.vocabulary, self.bundle.decoder
        words = self.bundle.tokenize(text)
        read = self._read(vocabulary.encode(words).tolist())
        scores, last = list(read.log_probabilities), []
        if vocabulary.end is not None and vocabulary.end_id is not None:
            last = [vocabulary.end]
            end = torch.tensor([vocabulary.end_id], device=decoder.device)
            scores.append(float(decoder.log_probability_of(read.state, end)))
        total = math.fsum(scores)
        mean = -total / len(scores) if scores else math.inf
        return {
            "words": [
                {
                    "word": word,
                    "log_probability": _finite(score),
                    "known": word in vocabulary,
                    "end": index >= len(words),
                }
                for index, (word, score) in enumerate(zip([*words, *last], scores, strict=True))
            ],
            "log_probability": _finite(total) if scores else None,
            "perplexity": math.exp(mean) if mean < 700 else None,
        }

    def word(self, word: str, limit: int = 24) -> dict[str, Any]:
        """Look up a word: its frequency, its codes and the words that share them.

        Returns:
            A dictionary with ``word`` and ``known``.

            For a word that is not in the vocabulary, also ``read_as``, the word that replaces it, and ``alike``, words
            with a similar spelling.

            For a word in the vocabulary, also ``rank`` (1 is the most frequent), ``count`` and ``share`` in the
            training text, and ``axes``.  For each code, ``axes`` has its ``name``, the ``code``, the ``side`` (number
            of codes on this axis), the number of ``others`` that share it, and the most frequent ``words`` among them.
            ``axes`` is empty for a model with one code per word.
        """
        check_count("limit", limit)
        vocabulary, allocation = self.bundle.vocabulary, self.bundle.model.allocation
        if word not in vocabulary:
            return {"word": word, "known": False, "read_as": vocabulary.unknown, "alike": self._similar(word)}
        word_id = vocabulary.id(word)
        count = int(vocabulary.counts[word_id])
        axes = []
        if allocation.num_components > 1:
            names, codes = code_names(allocation.num_components), allocation.codes[word_id].tolist()
            for axis, others in neighbors(allocation, vocabulary.words, word).items():
                axes.append(
                    {
                        "name": names[axis],
                        "code": codes[axis],
                        "side": allocation.sides[axis],
                        "others": len(others),
                        "words": others[:limit],
                    }
                )
        return {
            "word": word,
            "known": True,
            "rank": word_id + 1,
            "count": count,
            "share": count / max(1, int(vocabulary.counts.sum())),
            "axes": axes,
        }

    def generate(
        self,
        text: str,
        words: int = 20,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Generate a continuation, identical to that of ``lightrnn-generate`` with the same options.

        Returns:
            A dictionary with

            - ``words``: the generated words, without the end marker;
            - ``log_probability``: their log-probability under the unmodified model (without temperature, top-k or
              top-p), including the end marker if it was generated;
            - ``ended``: whether the end marker was generated.
        """
        (continuation,) = self.bundle.generate(
            text, words, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, samples=1
        )
        return {
            "words": list(continuation.words),
            "log_probability": _finite(continuation.log_probability),
            "ended": continuation.ended,
        }

    def _read(self, ids: list[int]) -> _Prefix:
        """Read a text, starting after its longest cached prefix."""
        decoder, key = self.bundle.decoder, tuple(ids)
        length = next((end for end in range(len(key), 0, -1) if key[:end] in self._prefixes), 0)
        if length:
            self._prefixes.move_to_end(key[:length])
            prefix = self._prefixes[key[:length]]
        else:
            prefix = self._prefixes.get(()) or _Prefix(decoder.start(1), ())
            self._cache((), prefix)
        for end in range(length + 1, len(key) + 1):
            score, state = decoder.step(prefix.state, torch.tensor([key[end - 1]], device=decoder.device))
            prefix = _Prefix(state, (*prefix.log_probabilities, float(score)))
            self.steps += 1
            self._cache(key[:end], prefix)
        return prefix

    def _cache(self, key: tuple[int, ...], prefix: _Prefix) -> None:
        self._prefixes[key] = prefix
        self._prefixes.move_to_end(key)
        while len(self._prefixes) > self._num_prefixes:
            self._prefixes.popitem(last=False)

    def _similar(self, word: str) -> list[str]:
        """Words of the vocabulary that differ only in case, or else words with a similar spelling."""
        vocabulary = self.bundle.vocabulary
        # Compare only words with the same first letter, which is rarely misspelled: comparing all words takes seconds.
        near = vocabulary.decode(self._spellings.words_starting_with(word[:1])) if word else []
        same = [other for other in near if other.casefold() == word.casefold()]
        return same or similar_words(near, word)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
