"""Continuing a text: words drawn at random, the most likely word each time, or a beam search.

Drawing follows a temperature T, P(w)^(1/T), and may be cut off to the k most likely words, or to the fewest words that
hold a share p of the probability (nucleus sampling, Holtzman et al. 2020).  All is exact for every model: what is cut
off is found by exact search, and what is drawn without a cut needs no list of all words (``search.draw``).

Knows words through the vocabulary, and reads texts as ``prediction`` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightrnn_pl.checks import check_count, check_flag, check_number, check_seed
from lightrnn_pl.inference.decoding import Decoder, DecodingState
from lightrnn_pl.inference.prediction import encode_text
from lightrnn_pl.vocabulary import Vocabulary

_FIRST_NUCLEUS = 64
"""Words searched for a nucleus at first; if they do not hold enough, all are looked at."""


_COLDEST = 0.001
"""The lowest temperature above 0: a log-probability of -100 divided by it is still far from the end of float32."""


@dataclass(frozen=True)
class Continuation:
    """What was written after a prompt.

    Attributes:
        words: Without the prompt and without the end marker that stopped them.
        log_probability: Natural-log probability that the model itself gives them after the prompt, that end marker
            included, whatever temperature or cut-off they were drawn with.
        ended: Whether the end marker stopped them, not the number of words.
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
    """How the next word is chosen.

    Args:
        temperature: Above 1 flatter, below 1 sharper than the model; 0 always takes the most likely word.  Between 0
            and 0.001 there is nothing, for rounding's sake.
        top_k: Only this many most likely words; None for all.
        top_p: Only the fewest most likely words whose probabilities sum to this share of what is not excluded, measured
            before the temperature; None for all.  With ``top_k`` no more than those.

    Raises:
        ValueError: For a value out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature)
        if self.temperature != 0 and not self.temperature >= _COLDEST:
            raise ValueError(
                f"temperature must be 0 (the most likely word each time) or at least {_COLDEST}, got {self.temperature}"
            )
        if self.top_k is not None:
            check_count("top_k", self.top_k)
        if self.top_p is not None:
            check_number("top_p", self.top_p)
            if not 0 < self.top_p <= 1:
                raise ValueError(f"top_p must be a share above 0 and up to 1, got {self.top_p}")

    def choose(
        self, decoder: Decoder, state: DecodingState, generator: torch.Generator, excluded: Sequence[int]
    ) -> Tensor:
        """A word of each stream, (B,), none of the excluded."""
        if self.temperature == 0:
            return _likeliest(decoder, state, 1, excluded)[1][:, 0]
        if self.top_p is not None and self.top_p < 1:
            scores, words = self._nucleus(decoder, state, excluded)
        elif self.top_k is not None:
            scores, words = _likeliest(decoder, state, self.top_k, excluded)
        else:
            return decoder.sample(state, generator, self.temperature, excluded)
        place = torch.multinomial((scores / self.temperature).softmax(-1), 1, generator=generator)
        return words.gather(1, place)[:, 0]

    def _nucleus(self, decoder: Decoder, state: DecodingState, excluded: Sequence[int]) -> tuple[Tensor, Tensor]:
        assert self.top_p is not None
        most = decoder.num_words if self.top_k is None else min(self.top_k, decoder.num_words)
        left_out = [
            decoder.log_probability_of(state, torch.full((len(state),), word, device=decoder.device)).double().exp()
            for word in excluded
        ]
        wanted = self.top_p * (1 - sum(left_out, torch.zeros(len(state), device=decoder.device).double()))
        # Few words hold enough in most places; where they do not, how many do is not known before they are found.
        for k in (min(_FIRST_NUCLEUS, most), most):
            scores, words = _likeliest(decoder, state, k, excluded)
            mass = scores.double().exp().cumsum(-1)
            if (mass[:, -1] >= wanted).all():
                break
        # A word is in the nucleus if those before it do not hold enough; the first one always is.
        inside = torch.cat([torch.zeros_like(mass[:, :1]), mass[:, :-1]], 1) < wanted[:, None]
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
    """Continuations drawn after ``prompt``, each word by ``sampling``; the same seed gives the same ones.

    Args:
        decoder: Of a model in evaluation mode.
        vocabulary: Its words; a word of the prompt that is not among them is read as the unknown word.
        prompt: Tokenised, words separated by whitespace; read from the start of a line.
        num_words: The most words of a continuation.
        sampling: How words are chosen; None means from the model's own probabilities.
        seed: Of a generator of random numbers of its own.
        samples: How many.
        stop: Whether the end marker, where the vocabulary has one, ends a continuation; else it is a word as all.
        unknown: Whether the unknown word may be written.

    Raises:
        ValueError: If an argument is none of these.
    """
    check_count("num_words", num_words)
    check_count("samples", samples)
    check_seed("seed", seed)
    sampling = sampling or Sampling()
    excluded, end = _markers(vocabulary, stop, unknown)
    generator = torch.Generator(decoder.device).manual_seed(seed)
    state = decoder.after([encode_text(vocabulary, prompt)] * samples)
    live = torch.arange(samples, device=decoder.device)
    drawn: list[list[int]] = [[] for _ in range(samples)]
    totals = [0.0] * samples
    for _ in range(num_words):
        words = sampling.choose(decoder, state, generator, excluded)
        scores, state = decoder.step(state, words)
        for place, word, score in zip(live.tolist(), words.tolist(), scores.tolist(), strict=True):
            drawn[place].append(word)
            totals[place] += score
        if end is not None and (words == end).any():
            going = (words != end).nonzero()[:, 0]
            live, state = live[going], state.select(going)
        if not len(live):
            break
    return [_continuation(vocabulary, ids, total, end) for ids, total in zip(drawn, totals, strict=True)]


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
    """The likeliest continuations that a beam of this width finds, best first, at most ``beams`` of them.

    Scores are plain log-probabilities, not divided by length: a continuation that the end marker stopped competes with
    those that go on up to ``num_words``.  The search ends once no unfinished one can enter the best ``beams``.  One
    beam takes the most likely word each time.

    Args:
        decoder: Of a model in evaluation mode.
        vocabulary: See ``continue_text``, as for the other arguments.
        prompt: What comes before.
        num_words: The most words of a continuation.
        beams: How many unfinished continuations are kept after each word.
        stop: Whether the end marker ends a continuation.
        unknown: Whether the unknown word may be written.

    Raises:
        ValueError: If an argument is none of these.
    """
    check_count("num_words", num_words)
    check_count("beams", beams)
    excluded, end = _markers(vocabulary, stop, unknown)
    state = decoder.after([encode_text(vocabulary, prompt)])
    live, finished = [_Beam(0.0, ())], list[_Beam]()
    for _ in range(num_words):
        values, words = (part.tolist() for part in _likeliest(decoder, state, beams, excluded))
        grown = [
            (_Beam(beam.score + value, (*beam.words, word)), place)
            for place, beam in enumerate(live)
            for value, word in zip(values[place], words[place], strict=True)
            if value > -math.inf
        ]
        grown = sorted(grown, key=lambda item: -item[0].score)[:beams]
        finished += [beam for beam, _ in grown if beam.words[-1] == end]
        finished = sorted(finished, key=lambda beam: -beam.score)[:beams]
        going = [(beam, place) for beam, place in grown if beam.words[-1] != end]
        live = [beam for beam, _ in going]
        # A log-probability only falls as a continuation grows.
        if not live or (len(finished) == beams and finished[-1].score >= live[0].score):
            break
        parents = torch.tensor([place for _, place in going], device=decoder.device)
        last = torch.tensor([beam.words[-1] for beam in live], device=decoder.device)
        state = decoder.read(state.select(parents), last)
    best = sorted([*finished, *live], key=lambda beam: -beam.score)[:beams]
    return [_continuation(vocabulary, list(beam.words), beam.score, end) for beam in best]


def _likeliest(decoder: Decoder, state: DecodingState, k: int, excluded: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The k most likely words that are not excluded; where fewer are left, excluded ones with log-probability -inf."""
    values, words = decoder.top(state, k + len(excluded))
    out = torch.isin(words, torch.tensor(list(excluded), dtype=torch.int64, device=words.device))
    values, places = values.masked_fill(out, -torch.inf).topk(min(k, values.shape[1]), dim=-1)
    return values, words.gather(1, places)


def _markers(vocabulary: Vocabulary, stop: bool, unknown: bool) -> tuple[list[int], int | None]:
    """Words that are never written: the unknown one unless allowed, and the marker of a beginning; and what stops."""
    check_flag("stop", stop)
    check_flag("unknown", unknown)
    out = {None if unknown else vocabulary.unknown_id}
    if vocabulary.begin_id != vocabulary.end_id:
        out.add(vocabulary.begin_id)
    excluded = sorted(word for word in out if word is not None)
    if len(excluded) == len(vocabulary):
        raise ValueError("the vocabulary has no words but markers that are never written; allow the unknown one")
    return excluded, vocabulary.end_id if stop else None


def _continuation(vocabulary: Vocabulary, ids: list[int], score: float, end: int | None) -> Continuation:
    ended = end is not None and bool(ids) and ids[-1] == end
    return Continuation(tuple(vocabulary.decode(ids[:-1] if ended else ids)), score, ended)
