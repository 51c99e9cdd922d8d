"""Incremental decoding: read a text word by word, and predict the next word at any point.

A word with k codes takes k steps of the core.  The state between two words is the one that predicts the first code of
the next word: the last code of the previous word has been read.  The log-probabilities are the same as those that
``LanguageModel.score`` computes for the whole text.  ``top_k`` implements search and sampling for words with several
codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.checks import check_count
from lightrnn_pl.inference.top_k import (
    TopWords,
    all_log_probabilities,
    best_first_search,
    greedy_search,
    sample_words,
    select_state,
    top_of_all_words,
)
from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.language_model import LanguageModel


@dataclass(frozen=True)
class DecodingState:
    """The state of B streams between two words.

    Attributes:
        hidden: The hidden states that predict the first code of the next word, (B, H).
        core: The state of the core after that step.
    """

    hidden: Float[Tensor, "B H"]
    core: State

    def __len__(self) -> int:
        return len(self.hidden)

    def select(self, streams: Int[Tensor, " N"]) -> DecodingState:
        """The state of the streams with the given indices, which may contain duplicates."""
        return DecodingState(self.hidden[streams], select_state(self.core, streams))


class Decoder:
    """Incremental decoder of a language model.  All probabilities are exact; gradients are disabled.

    Args:
        model: A language model in evaluation mode.
        context_id: The word that precedes every text (``Vocabulary.context_id``).
    """

    def __init__(self, model: LanguageModel, context_id: int) -> None:
        self.model = model
        self.context_id = context_id
        self.num_codes = model.allocation.num_components
        self.num_words = model.allocation.num_words
        self._cached_words: tuple[tuple[torch.device, int, int], Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def start(self, batch_size: int) -> DecodingState:
        """The state before the first word of B texts.

        Raises:
            ValueError: If the model is in training mode, in which dropout would make predictions random.
        """
        check_count("batch_size", batch_size)
        self._require_evaluation()
        context = torch.full((batch_size,), self.context_id, device=self.device)
        return DecodingState(*self.model.step(self.model.embedding.first_step(context)))

    @torch.no_grad()
    def read(self, state: DecodingState, words: Int[Tensor, " B"]) -> DecodingState:
        """The state after reading one word of each stream."""
        return self._advance(state, words)[1]

    @torch.no_grad()
    def step(self, state: DecodingState, words: Int[Tensor, " B"]) -> tuple[Float[Tensor, " B"], DecodingState]:
        """Natural-log probability of one word of each stream, and the state after reading it, in a single step."""
        hidden, next_state = self._advance(state, words)
        return self.model.output.log_probability(hidden, words[:, None])[:, 0], next_state

    @torch.no_grad()
    def log_probability_of(self, state: DecodingState, words: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Natural-log probability that ``words`` come next, one word per stream."""
        hidden, _ = self._predict_codes(state, words)
        return self.model.output.log_probability(hidden, words[:, None])[:, 0]

    @torch.no_grad()
    def log_probabilities(self, state: DecodingState) -> Float[Tensor, "B V"]:
        """Natural-log probability of every word.

        With several codes per word, this expands every row, which is slow.
        """
        if self.num_codes == 1:
            return self.model.output.log_probabilities(state.hidden)
        return all_log_probabilities(self.model, state.hidden, state.core)

    @torch.no_grad()
    def top(
        self, state: DecodingState, k: int, excluded: Sequence[int] = ()
    ) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
        """Log-probabilities and ids of the k most likely next words; see :meth:`search`."""
        check_count("k", k)
        if self.num_codes > 1 and k + len(excluded) >= prod(self.model.allocation.sides[:-1]):
            every = top_of_all_words(self.model, state.hidden, state.core, k + len(excluded))
            return _without(*every, excluded, k)
        top = self.search(state, k, excluded=excluded)
        return top.log_probabilities, top.words

    @torch.no_grad()
    def search(self, state: DecodingState, k: int, greedy: bool = False, excluded: Sequence[int] = ()) -> TopWords:
        """The k most likely next words, and the number of rows expanded to find them.

        Args:
            state: The state of the streams.
            k: Number of words.
            greedy: Whether to search only the most likely row (LightRNN, section 3.1).  Greedy search misses more
                likely words in other rows.  With one code per word, this has no effect.
            excluded: Words that are not returned.

        Returns:
            At most V words per stream, most likely first.  If there are fewer than k, missing ones have log-probability
            -inf and id -1.
        """
        check_count("k", k)
        number = k + len(excluded)
        if self.num_codes == 1:
            values, words = self.model.output.top(state.hidden, min(number, self.num_words))
            opened = torch.zeros(len(state), dtype=torch.int64, device=self.device)
        else:
            search = greedy_search if greedy else best_first_search
            values, words, opened = search(self.model, self._words_of_cells(), state.hidden, state.core, number)
        return TopWords(*_without(values, words, excluded, k), opened)

    @torch.no_grad()
    def sample(
        self,
        state: DecodingState,
        generator: torch.Generator,
        temperature: float = 1.0,
        excluded: Sequence[int] = (),
    ) -> Int[Tensor, " B"]:
        """Sample a word of each stream from P(w)^(1/temperature), normalized over all words that are not excluded.

        With several codes per word, codes are sampled one after another, without computing the probabilities of all
        words.  The distribution is exact in both cases.
        """
        excluded_ids = torch.tensor(list(excluded), dtype=torch.int64, device=self.device)
        if self.num_codes > 1:
            words = self._words_of_cells()
            return sample_words(self.model, words, state.hidden, state.core, temperature, generator, excluded_ids)
        scores = self.model.output.log_probabilities(state.hidden) / temperature
        scores[:, excluded_ids] = -torch.inf
        return torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]

    @torch.no_grad()
    def state_after(self, texts: Sequence[Sequence[int]]) -> DecodingState:
        """The state after each text.  Texts of equal length are read in one call of the core.

        Args:
            texts: One or more texts as word ids, without the context word.  A text may be empty.

        Raises:
            ValueError: If the model is in training mode.
        """
        self._require_evaluation()
        by_length: dict[int, list[int]] = {}
        for index, text in enumerate(texts):
            by_length.setdefault(len(text), []).append(index)
        states = [self._state_after_equal_lengths([texts[index] for index in group]) for group in by_length.values()]
        order = torch.tensor([index for group in by_length.values() for index in group], device=self.device)
        return _concatenate(states).select(order.argsort())

    def _require_evaluation(self) -> None:
        if self.model.training:
            raise ValueError("the model is in training mode, so dropout is active; call model.eval() before decoding")

    def _words_of_cells(self) -> Int[Tensor, "*sides"]:
        """The word in each cell of the word table.  Cached, because it is as slow as a search, until codes change."""
        codes = self.model.allocation.codes
        version = (codes.device, codes.data_ptr(), codes._version)
        if self._cached_words is None or self._cached_words[0] != version:
            self._cached_words = version, self.model.allocation.words()
        return self._cached_words[1]

    def _state_after_equal_lengths(self, texts: Sequence[Sequence[int]]) -> DecodingState:
        words = torch.tensor([[self.context_id, *text] for text in texts], device=self.device)
        core: State | None = None
        if words.shape[1] > 1:
            _, core = self.model.hidden(words[:, :-1], words[:, 1:])
        return DecodingState(*self.model.step(self.model.embedding.first_step(words[:, -1]), core))

    def _predict_codes(self, state: DecodingState, words: Int[Tensor, " B"]) -> tuple[Float[Tensor, "B k H"], State]:
        """The hidden states that predict each code of ``words``, and the core state before the last code is read."""
        codes = self.model.allocation.encode(words)
        hidden, core = [state.hidden], state.core
        for axis in range(self.num_codes - 1):
            next_hidden, core = self.model.read_code(axis, codes[:, axis], core)
            hidden.append(next_hidden)
        return torch.stack(hidden, 1), core

    def _advance(self, state: DecodingState, words: Int[Tensor, " B"]) -> tuple[Float[Tensor, "B k H"], DecodingState]:
        hidden, core = self._predict_codes(state, words)
        return hidden, DecodingState(*self.model.step(self.model.embedding.first_step(words), core))


def _without(
    values: Float[Tensor, "B n"], words: Int[Tensor, "B n"], excluded: Sequence[int], k: int
) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
    """The first k of ``words`` that are not excluded; missing ones have log-probability -inf and id -1."""
    if not excluded:
        return values, words
    is_excluded = torch.isin(words, torch.tensor(list(excluded), device=words.device))
    order = is_excluded.byte().argsort(dim=1, stable=True)[:, :k]
    values, words = values.masked_fill(is_excluded, -torch.inf), words.masked_fill(is_excluded, -1)
    return values.gather(1, order), words.gather(1, order)


def _concatenate(states: Iterable[DecodingState]) -> DecodingState:
    states = list(states)
    core = tuple(torch.cat(parts, 1) for parts in zip(*(state.core for state in states), strict=True))
    return DecodingState(torch.cat([state.hidden for state in states]), core)
