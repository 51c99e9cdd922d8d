"""Text generation: sampling, greedy decoding and beam search.

Sampling draws from P(w)^(1/temperature), optionally restricted to the k most likely words, or to the smallest set of
most likely words with total probability p (nucleus sampling, Holtzman et al. 2020).  All methods are exact for every
model: restricted sampling uses exact search, and unrestricted sampling does not need the probabilities of all words
(``top_k.sample_words``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightrnn_pl.checks import check_count, check_flag, check_number, check_ratio, check_seed
from lightrnn_pl.inference.decoding import Decoder, DecodingState
from lightrnn_pl.inference.prediction import encode_text
from lightrnn_pl.vocabulary import Vocabulary

_INITIAL_NUCLEUS_SIZE = 64
"""Number of words searched for a nucleus.  If their probability is too low, all words are searched."""

_MIN_TEMPERATURE = 0.001
"""The lowest positive temperature.  A log-probability of -100 divided by it is well within the range of float32."""


@dataclass(frozen=True)
class Continuation:
    """A generated continuation of a prompt.

    Attributes:
        words: The generated words, without the prompt and the final end marker.
        log_probability: Natural-log probability of the words after the prompt, including the final end marker.  It is
            the probability under the model, independent of temperature, top-k and top-p.
        ended: True if the continuation ended with an end marker, False if it reached the maximum number of words.
    """

    words: tuple[str, ...]
    log_probability: float
    ended: bool

    @property
    def text(self) -> str:
        """The words, separated by spaces."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Sampling:
    """How the next word is sampled.

    Args:
        temperature: Sample from P(w)^(1/temperature).  0 selects the most likely word each time.  Positive values must
            be at least 0.001, for numerical reasons.
        top_k: Restrict sampling to the k most likely words; None for all words.
        top_p: Restrict sampling to the smallest set of most likely words whose total probability is at least this
            share of the words that are not excluded, before the temperature is applied; None for all words.  If
            ``top_k`` is also set, both restrictions apply.

    Raises:
        ValueError: If a value is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature)
        if self.temperature != 0 and not self.temperature >= _MIN_TEMPERATURE:
            raise ValueError(
                f"temperature must be 0 (always the most likely word) or at least {_MIN_TEMPERATURE}, "
                f"got {self.temperature}"
            )
        if self.top_k is not None:
            check_count("top_k", self.top_k)
        if self.top_p is not None:
            check_ratio("top_p", self.top_p)

    def choose(
        self, decoder: Decoder, state: DecodingState, generator: torch.Generator, excluded: Sequence[int]
    ) -> Tensor:
        """Sample a word of each stream, (B,), that is not excluded."""
        if self.temperature == 0:
            return decoder.top(state, 1, excluded)[1][:, 0]
        if self.top_p is not None and self.top_p < 1:
            scores, words = self._nucleus(decoder, state, excluded)
        elif self.top_k is not None:
            scores, words = decoder.top(state, self.top_k, excluded)
        else:
            return decoder.sample(state, generator, self.temperature, excluded)
        index = torch.multinomial((scores / self.temperature).softmax(-1), 1, generator=generator)
        return words.gather(1, index)[:, 0]

    def _nucleus(self, decoder: Decoder, state: DecodingState, excluded: Sequence[int]) -> tuple[Tensor, Tensor]:
        assert self.top_p is not None
        max_size = decoder.num_words if self.top_k is None else min(self.top_k, decoder.num_words)
        excluded_mass = [
            decoder.log_probability_of(state, torch.full((len(state),), word, device=decoder.device)).double().exp()
            for word in excluded
        ]
        required = self.top_p * (1 - sum(excluded_mass, torch.zeros(len(state), device=decoder.device).double()))
        # A few words usually suffice.  If not, the required number is unknown, so all words are searched.
        for k in (min(_INITIAL_NUCLEUS_SIZE, max_size), max_size):
            scores, words = decoder.top(state, k, excluded)
            mass = scores.double().exp().cumsum(-1)
            if (mass[:, -1] >= required).all():
                break
        # A word is in the nucleus if the words before it do not reach the required probability.  The first always is.
        inside = torch.cat([torch.zeros_like(mass[:, :1]), mass[:, :-1]], 1) < required[:, None]
        inside[:, 0] = True
        return scores.masked_fill(~inside, -torch.inf), words


def continue_text(
    decoder: Decoder,
    vocabulary: Vocabulary,
    prompt: str = "",
    num_words: int = 20,
    sampling: Sampling | None = None,
    seed: int = 0,
    samples: int = 1,
    stop: bool = True,
    unknown: bool = False,
) -> list[Continuation]:
    """Sample continuations of a prompt.  The same seed yields the same continuations.

    Args:
        decoder: The decoder of a model in evaluation mode.
        vocabulary: The vocabulary of the model.  Words outside of it are read as the unknown word.
        prompt: Tokenized text, words separated by whitespace, read from the start of a line.
        num_words: Maximum number of words of a continuation.
        sampling: How words are sampled; None means from the probabilities of the model.
        seed: Seed of a separate random generator.
        samples: Number of continuations.
        stop: Whether the end marker ends a continuation.  Otherwise, it is generated like any other word.
        unknown: Whether the unknown word may be generated.

    Raises:
        ValueError: If an argument is invalid.
    """
    check_count("num_words", num_words)
    check_count("samples", samples)
    check_seed("seed", seed)
    sampling = sampling or Sampling()
    excluded, end = _markers(vocabulary, stop, unknown)
    generator = torch.Generator(decoder.device).manual_seed(seed)
    state = decoder.state_after([encode_text(vocabulary, prompt)] * samples)
    active = torch.arange(samples, device=decoder.device)
    generated: list[list[int]] = [[] for _ in range(samples)]
    totals = [0.0] * samples
    for _ in range(num_words):
        words = sampling.choose(decoder, state, generator, excluded)
        scores, state = decoder.step(state, words)
        for sample, word, score in zip(active.tolist(), words.tolist(), scores.tolist(), strict=True):
            generated[sample].append(word)
            totals[sample] += score
        if end is not None and (words == end).any():
            unfinished = (words != end).nonzero()[:, 0]
            active, state = active[unfinished], state.select(unfinished)
        if not len(active):
            break
    return [_continuation(vocabulary, ids, total, end) for ids, total in zip(generated, totals, strict=True)]


class _Beam(NamedTuple):
    score: float
    words: tuple[int, ...]


def beam_search(
    decoder: Decoder,
    vocabulary: Vocabulary,
    prompt: str = "",
    num_words: int = 20,
    beams: int = 4,
    stop: bool = True,
    unknown: bool = False,
) -> list[Continuation]:
    """Beam search: at most ``beams`` continuations, most likely first.

    Scores are log-probabilities without length normalization, so finished continuations compete with unfinished ones
    of up to ``num_words`` words.  The search stops when no unfinished continuation can enter the best ``beams``.  With
    one beam, it selects the most likely word each time.

    Args:
        decoder: The decoder of a model in evaluation mode.
        vocabulary: The vocabulary of the model.  Words outside of it are read as the unknown word.
        prompt: Tokenized text, words separated by whitespace, read from the start of a line.
        num_words: Maximum number of words of a continuation.
        beams: Number of unfinished continuations kept after each word.
        stop: Whether the end marker ends a continuation.
        unknown: Whether the unknown word may be generated.

    Raises:
        ValueError: If an argument is invalid.
    """
    check_count("num_words", num_words)
    check_count("beams", beams)
    excluded, end = _markers(vocabulary, stop, unknown)
    state = decoder.state_after([encode_text(vocabulary, prompt)])
    active, finished = [_Beam(0.0, ())], list[_Beam]()
    for _ in range(num_words):
        values, words = (part.tolist() for part in decoder.top(state, beams, excluded))
        extended = [
            (_Beam(beam.score + value, (*beam.words, word)), parent)
            for parent, beam in enumerate(active)
            for value, word in zip(values[parent], words[parent], strict=True)
            if value > -math.inf
        ]
        extended = sorted(extended, key=lambda item: -item[0].score)[:beams]
        finished += [beam for beam, _ in extended if beam.words[-1] == end]
        finished = sorted(finished, key=lambda beam: -beam.score)[:beams]
        unfinished = [(beam, parent) for beam, parent in extended if beam.words[-1] != end]
        active = [beam for beam, _ in unfinished]
        # The log-probability of a continuation never increases when it is extended.
        if not active or (len(finished) == beams and finished[-1].score >= active[0].score):
            break
        parents = torch.tensor([parent for _, parent in unfinished], device=decoder.device)
        last = torch.tensor([beam.words[-1] for beam in active], device=decoder.device)
        state = decoder.read(state.select(parents), last)
    best = sorted([*finished, *active], key=lambda beam: -beam.score)[:beams]
    return [_continuation(vocabulary, list(beam.words), beam.score, end) for beam in best]


def _markers(vocabulary: Vocabulary, stop: bool, unknown: bool) -> tuple[list[int], int | None]:
    """The words that are never generated, and the end marker if it ends a continuation."""
    check_flag("stop", stop)
    check_flag("unknown", unknown)
    excluded_ids = {None if unknown else vocabulary.unknown_id}
    if vocabulary.begin_id != vocabulary.end_id:
        excluded_ids.add(vocabulary.begin_id)
    excluded = sorted(word for word in excluded_ids if word is not None)
    if len(excluded) == len(vocabulary):
        raise ValueError("the vocabulary contains only markers that are never generated; set unknown=true")
    return excluded, vocabulary.end_id if stop else None


def _continuation(vocabulary: Vocabulary, ids: list[int], score: float, end: int | None) -> Continuation:
    ended = end is not None and bool(ids) and ids[-1] == end
    return Continuation(tuple(vocabulary.decode(ids[:-1] if ended else ids)), score, ended)
