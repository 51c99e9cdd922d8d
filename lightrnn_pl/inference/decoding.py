"""Reading a text word by word with a model, and asking after each word what comes next: for any number of codes.

A word of k codes costs k steps of the core.  The state between two words is the one from which the first code of the
next word is predicted: the last code of the word before has been read, and nothing of the next.  What was read word by
word has the same log-probabilities as what ``LanguageModel.score`` reads in one piece.

Knows ids; nothing of text.  ``search`` knows how the words of several codes are found.
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
    Found,
    best_first,
    best_of_every_word,
    draw,
    every_word,
    most_likely_row,
    select_state,
)
from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.language_model import LanguageModel


@dataclass(frozen=True)
class DecodingState:
    """Where B streams stand between two words.

    Attributes:
        hidden: The hidden state that predicts the first code of the next word, (B, H).
        core: The core's state after that step.
    """

    hidden: Float[Tensor, "B H"]
    core: State

    def __len__(self) -> int:
        return len(self.hidden)

    def select(self, places: Int[Tensor, " N"]) -> DecodingState:
        """Some of the streams, in the order given, each as often as it is named."""
        return DecodingState(self.hidden[places], select_state(self.core, places))


class Decoder:
    """A trained model, to be read with and asked.  All answers are exact; no gradients.

    Args:
        model: In evaluation mode.
        context_id: The word that every text is read after (``Vocabulary.context_id``).
    """

    def __init__(self, model: LanguageModel, context_id: int) -> None:
        self.model = model
        self.context_id = context_id
        self.num_codes = model.allocation.num_components
        self.num_words = model.allocation.num_words
        self._table: tuple[tuple[torch.device, int, int], Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def start(self, batch_size: int) -> DecodingState:
        """The state before the first word of B texts.

        Raises:
            ValueError: If the model is in training mode, whose dropout would make every answer another.
        """
        check_count("batch_size", batch_size)
        self._require_evaluation()
        context = torch.full((batch_size,), self.context_id, device=self.device)
        return DecodingState(*self.model.step(self.model.embedding.first_step(context)))

    @torch.no_grad()
    def read(self, state: DecodingState, words: Int[Tensor, " B"]) -> DecodingState:
        """The state after one more word of each stream."""
        return self._advance(state, words)[1]

    @torch.no_grad()
    def step(self, state: DecodingState, words: Int[Tensor, " B"]) -> tuple[Float[Tensor, " B"], DecodingState]:
        """Natural-log probability of one word of each stream, and the state after it, for the price of ``read``."""
        hidden, after = self._advance(state, words)
        return self.model.output.log_probability(hidden, words[:, None])[:, 0], after

    @torch.no_grad()
    def log_probability_of(self, state: DecodingState, words: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Natural-log probability that ``words`` come next, one a stream."""
        hidden, _ = self._spell(state, words)
        return self.model.output.log_probability(hidden, words[:, None])[:, 0]

    @torch.no_grad()
    def log_probabilities(self, state: DecodingState) -> Float[Tensor, "B V"]:
        """Natural-log probability of every word; with k > 1 codes by expanding every row: slow, used as a reference."""
        if self.num_codes == 1:
            return self.model.output.log_probabilities(state.hidden)
        return every_word(self.model, state.hidden, state.core)

    @torch.no_grad()
    def top(self, state: DecodingState, k: int) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
        """Log-probabilities and ids of the k most likely next words (no more than V), best first, exactly."""
        check_count("k", k)
        if self.num_codes > 1 and k >= prod(self.model.allocation.sides[:-1]):
            return best_of_every_word(self.model, state.hidden, state.core, k)
        found = self.search(state, k)
        return found.log_probabilities, found.words

    @torch.no_grad()
    def search(self, state: DecodingState, k: int, greedy: bool = False) -> Found:
        """``top``, and how many rows were opened for it: none where words have one code.

        Args:
            state: Where the streams stand.
            k: How many words.
            greedy: Look into the most likely row alone (LightRNN, section 3.1).  This is no exact answer: likelier
                words in other rows are missed, and a row may have fewer than k words (then log-probability -inf and
                word -1).  With one code a word it changes nothing.
        """
        check_count("k", k)
        if self.num_codes == 1:
            values, words = self.model.output.top(state.hidden, min(k, self.num_words))
            return Found(values, words, torch.zeros(len(state), dtype=torch.int64, device=self.device))
        look = most_likely_row if greedy else best_first
        return look(self.model, self._words_of_cells(), state.hidden, state.core, k)

    @torch.no_grad()
    def sample(
        self,
        state: DecodingState,
        generator: torch.Generator,
        temperature: float = 1.0,
        excluded: Sequence[int] = (),
    ) -> Int[Tensor, " B"]:
        """A word of each stream, drawn from P(w)^(1/temperature) over all words but the excluded, exactly.

        With k > 1 codes a word is drawn code by code, without the probabilities of all words.
        """
        without = torch.tensor(list(excluded), dtype=torch.int64, device=self.device)
        if self.num_codes > 1:
            table = self._words_of_cells()
            return draw(self.model, table, state.hidden, state.core, temperature, generator, without)
        scores = self.model.output.log_probabilities(state.hidden) / temperature
        scores[:, without] = -torch.inf
        return torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]

    @torch.no_grad()
    def after(self, texts: Sequence[Sequence[int]]) -> DecodingState:
        """The state after each text, all steps of the texts of one length in one call of the core.

        Args:
            texts: Word ids, without the context word; one or more, and a text may be empty.

        Raises:
            ValueError: As ``start``.
        """
        self._require_evaluation()
        by_length: dict[int, list[int]] = {}
        for place, text in enumerate(texts):
            by_length.setdefault(len(text), []).append(place)
        states = [self._after_equal([texts[place] for place in places]) for places in by_length.values()]
        places = torch.tensor([place for some in by_length.values() for place in some], device=self.device)
        return _joined(states).select(places.argsort())

    def _require_evaluation(self) -> None:
        if self.model.training:
            raise ValueError("a model in training mode drops units at random; call model.eval() before decoding")

    def _words_of_cells(self) -> Int[Tensor, "*sides"]:
        """The word table read the other way, which takes as long as a search; made anew when words have moved."""
        codes = self.model.allocation.codes
        version = (codes.device, codes.data_ptr(), codes._version)
        if self._table is None or self._table[0] != version:
            self._table = version, self.model.allocation.words()
        return self._table[1]

    def _after_equal(self, texts: Sequence[Sequence[int]]) -> DecodingState:
        words = torch.tensor([[self.context_id, *text] for text in texts], device=self.device)
        core: State | None = None
        if words.shape[1] > 1:
            _, core = self.model.hidden(words[:, :-1], words[:, 1:])
        return DecodingState(*self.model.step(self.model.embedding.first_step(words[:, -1]), core))

    def _spell(self, state: DecodingState, words: Int[Tensor, " B"]) -> tuple[Float[Tensor, "B k H"], State]:
        """The hidden states that predict each code of ``words``, and the core's state before the words are read."""
        codes = self.model.allocation.encode(words)
        hidden, core = [state.hidden], state.core
        for axis in range(self.num_codes - 1):
            predicting, core = self.model.step(self.model.embedding.code_step(axis, codes[:, axis]), core)
            hidden.append(predicting)
        return torch.stack(hidden, 1), core

    def _advance(self, state: DecodingState, words: Int[Tensor, " B"]) -> tuple[Float[Tensor, "B k H"], DecodingState]:
        hidden, core = self._spell(state, words)
        return hidden, DecodingState(*self.model.step(self.model.embedding.first_step(words), core))


def _joined(states: Iterable[DecodingState]) -> DecodingState:
    states = list(states)
    core = tuple(torch.cat(parts, 1) for parts in zip(*(state.core for state in states), strict=True))
    return DecodingState(torch.cat([state.hidden for state in states]), core)
