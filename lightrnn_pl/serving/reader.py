"""What the page asks of a model, answered in plain types: next words, scores, a word's cell, continuations, facts.

What was read stays: the states after the prefixes of the last texts are kept, so that a keystroke costs the step of one
word, not the whole text.  All answers are exact.

Knows nothing of HTTP.  Not safe for threads: ``next_words`` and ``score`` share the prefixes, so one thread at a time
may call them.  ``generate``, ``word`` and ``facts`` share nothing with them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightrnn_pl.allocation.formats import code_names
from lightrnn_pl.allocation.inspection import neighbours, similar_words
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.checks import check_count
from lightrnn_pl.inference.decoding import DecodingState
from lightrnn_pl.inference.prediction import encode_text

_LAST_CHARACTER = chr(0x10FFFF)


@dataclass(frozen=True)
class _Prefix:
    """A text that was read: where the model stands after it, and the log-probability of each of its words."""

    state: DecodingState
    log_probabilities: tuple[float, ...]


class Reader:
    """Reads texts with a model and remembers their prefixes.

    Args:
        bundle: A trained model with its vocabulary.
        num_prefixes: How many prefixes are remembered, those that were used last.
    """

    def __init__(self, bundle: Bundle, num_prefixes: int = 1024) -> None:
        check_count("num_prefixes", num_prefixes)
        self.bundle = bundle
        self.steps = 0
        """Words read by the model so far; what was remembered is not counted."""
        self._num_prefixes = num_prefixes
        self._prefixes: OrderedDict[tuple[int, ...], _Prefix] = OrderedDict()
        folded = sorted((word.casefold(), number) for number, word in enumerate(bundle.vocabulary.words))
        self._spellings = [spelling for spelling, _ in folded]
        self._ids = torch.tensor([number for _, number in folded], device=bundle.decoder.device)

    def next_words(self, text: str, k: int = 10, complete: bool = False) -> dict[str, Any]:
        """The k most likely next words, best first, with their probabilities.

        Args:
            text: Words separated by whitespace, read from the start of a line.
            k: How many; no more than there are.
            complete: A last word without white space after it is the beginning of the word that is asked for: the
                answers are the words that begin so, capitals aside, and their probabilities are still those among all
                words.  Where no word begins so, it is a word like the others.

        Returns:
            ``words``: of (word, probability); ``read``: words read before them; ``unknown``: the places of those that
            are not in the vocabulary; ``rows_opened``: rows opened to prove the answer, null where it was not
            searched for; ``begins``: what the words begin with, null for nothing; ``whole``: whether that is a word
            itself; ``matching`` and ``share``: how many words begin so, and their probability together.
        """
        check_count("k", k)
        vocabulary, decoder = self.bundle.vocabulary, self.bundle.decoder
        words = text.split()
        matching = range(0)
        if complete and words and text[-1:] == words[-1][-1]:
            matching = self._beginning_with(words[-1])
        before = words[:-1] if matching else words
        state = self._read(encode_text(vocabulary, " ".join(before))).state
        answer: dict[str, Any] = {
            "read": len(before),
            "unknown": [place for place, word in enumerate(before) if word not in vocabulary],
            "rows_opened": None,
            "begins": words[-1] if matching else None,
            "whole": bool(matching) and words[-1] in vocabulary,
            "matching": len(matching) if matching else len(vocabulary),
            "share": 1.0,
        }
        if matching:
            ids = self._ids[matching.start : matching.stop]
            probabilities = self._log_probabilities(state, ids).double().exp()
            answer["share"] = min(1.0, float(probabilities.sum()))
            best, places = probabilities.topk(min(k, len(ids)))
            found = ids[places]
        else:
            searched = decoder.search(state, k)
            best, found = searched.log_probabilities[0].double().exp(), searched.words[0]
            if decoder.num_codes > 1:
                answer["rows_opened"] = int(searched.opened[0])
        answer["words"] = list(zip(vocabulary.decode(found.tolist()), best.tolist(), strict=True))
        return answer

    def score(self, text: str) -> dict[str, Any]:
        """The natural-log probability of each word of a line, the end marker last where the vocabulary has one.

        Returns:
            ``words``: of ``word``, ``log_probability`` (null for minus infinity), ``known`` and ``end``; their
            ``log_probability`` together and their ``perplexity``, both null where there is nothing to score.
        """
        vocabulary, decoder = self.bundle.vocabulary, self.bundle.decoder
        words = text.split()
        read = self._read(encode_text(vocabulary, text))
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
                    "end": place >= len(words),
                }
                for place, (word, score) in enumerate(zip([*words, *last], scores, strict=True))
            ],
            "log_probability": _finite(total) if scores else None,
            "perplexity": math.exp(mean) if mean < 700 else None,
        }

    def word(self, word: str, limit: int = 24) -> dict[str, Any]:
        """A word's place in the vocabulary and in the word table, and who shares its row and its column.

        Returns:
            ``known``; for words that are not, ``read_as`` and ``alike``.  For the others ``rank`` (1 for the most
            frequent), ``count`` and ``share`` of the training text, and ``axes``: for each code of the table its
            ``name``, the ``code``, the ``side``, how many ``others`` share it, and the most frequent ``words``
            of them.  A model whose words have one code has no axes.
        """
        check_count("limit", limit)
        vocabulary, allocation = self.bundle.vocabulary, self.bundle.model.allocation
        if word not in vocabulary:
            return {"word": word, "known": False, "read_as": vocabulary.unknown, "alike": self._alike(word)}
        number = vocabulary.id(word)
        count = int(vocabulary.counts[number])
        axes = []
        if allocation.num_components > 1:
            names, codes = code_names(allocation.num_components), allocation.codes[number].tolist()
            for axis, others in neighbours(allocation, vocabulary.words, word).items():
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
            "rank": number + 1,
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
        """A continuation, the same as ``lightrnn-generate`` draws with these options.

        Returns:
            ``words``; ``log_probability``, the model's own after the text; ``ended``, whether the end marker stopped
            it, which is then part of the probability and not of the words.
        """
        (made,) = self.bundle.generate(
            text, words, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, samples=1
        )
        return {
            "words": list(made.words),
            "log_probability": _finite(made.log_probability),
            "ended": made.ended,
        }

    def _read(self, ids: list[int]) -> _Prefix:
        """The state after a text; only what follows its longest remembered prefix is read."""
        decoder, key = self.bundle.decoder, tuple(ids)
        length = next((end for end in range(len(key), 0, -1) if key[:end] in self._prefixes), 0)
        if length:
            self._prefixes.move_to_end(key[:length])
            prefix = self._prefixes[key[:length]]
        else:
            prefix = self._prefixes.get(()) or _Prefix(decoder.start(1), ())
            self._remember((), prefix)
        for end in range(length + 1, len(key) + 1):
            score, state = decoder.step(prefix.state, torch.tensor([key[end - 1]], device=decoder.device))
            prefix = _Prefix(state, (*prefix.log_probabilities, float(score)))
            self.steps += 1
            self._remember(key[:end], prefix)
        return prefix

    def _remember(self, key: tuple[int, ...], prefix: _Prefix) -> None:
        self._prefixes[key] = prefix
        self._prefixes.move_to_end(key)
        while len(self._prefixes) > self._num_prefixes:
            self._prefixes.popitem(last=False)

    def _beginning_with(self, beginning: str) -> range:
        """The places, in the order of spelling, of the words that begin so."""
        folded = beginning.casefold()
        return range(bisect_left(self._spellings, folded), bisect_left(self._spellings, folded + _LAST_CHARACTER))

    def _log_probabilities(self, state: DecodingState, ids: Tensor) -> Tensor:
        """Of some words, the cheaper way: each on its own, or all there are."""
        decoder = self.bundle.decoder
        if decoder.num_codes > 1 and len(ids) <= self.bundle.model.allocation.sides[0]:
            alike = state.select(torch.zeros(len(ids), dtype=torch.int64, device=decoder.device))
            return decoder.log_probability_of(alike, ids)
        return decoder.log_probabilities(state)[0, ids]

    def _alike(self, word: str) -> list[str]:
        """Words of the vocabulary that may have been meant: with other capitals, or spelled nearly so."""
        vocabulary = self.bundle.vocabulary
        folded = word.casefold()
        same = range(bisect_left(self._spellings, folded), bisect_left(self._spellings, folded + "\0"))
        if same:
            return [vocabulary.words[number] for number in self._ids[same.start : same.stop].tolist()]
        # The first letter is seldom wrong, and to compare a word with all others takes seconds.
        near = self._beginning_with(word[:1]) if word else range(0)
        return similar_words([vocabulary.words[number] for number in self._ids[near.start : near.stop].tolist()], word)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
