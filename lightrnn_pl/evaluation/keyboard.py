"""What a keyboard that suggests words saves: accuracy of the first suggestions, and keystrokes.

The suggestions are the most likely words of the vocabulary, without markers, that start with the letters typed so far,
ignoring case; before the first letter, they are the most likely next words.  Typing a word takes one keystroke per
letter and one for the space after it.  Selecting one of the first three suggestions takes one keystroke, which also
enters the space.  A word is selected as soon as it is suggested:

    keystrokes(w) = min(len(w), letters needed until w is among the suggestions) + 1

All words count except end markers.  Words outside the vocabulary are never suggested; because their spelling is not
known, they do not count as keystrokes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import BIN_EDGES
from lightrnn_pl.inference.completion import spellings_of
from lightrnn_pl.inference.decoding import Decoder, DecodingState
from lightrnn_pl.nn.cores import reset_state
from lightrnn_pl.vocabulary import Vocabulary

TOP = (1, 3, 5)
"""Numbers of suggestions for which accuracy is reported."""
SUGGESTIONS = 3
"""Number of suggestions that a keyboard shows."""


@dataclass(frozen=True)
class KeyboardNumbers:
    """Accuracies and savings from 0 to 1.

    Attributes:
        at_least: Smallest count in the training text of the words of this bin; None for all words.
        words: Number of words.
        top1: Share of words that were the first suggestion before any letter was typed.
        top3: Share of words among the first three.
        top5: Share of words among the first five.
        keystroke_savings: Share of keystrokes that suggestions save; 0 if there are none.
    """

    at_least: int | None
    words: int
    top1: float
    top3: float
    top5: float
    keystroke_savings: float


class KeyboardMeter:
    """Collects the ranks of words and the keystrokes that they need.

    Args:
        vocabulary: The vocabulary.  Its markers are never suggested.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._spellings = spellings_of(vocabulary)
        markers = (vocabulary.unknown_id, vocabulary.begin_id, vocabulary.end_id)
        self._markers = [marker for marker in markers if marker is not None]
        self._ranges: dict[int, list[range]] = {}
        self._words: list[NDArray[np.int64]] = []
        self._ranks: list[NDArray[np.int64]] = []
        self._letters: list[NDArray[np.int64]] = []

    def add(self, log_probabilities: Float[np.ndarray, "N V"], words: Int[np.ndarray, " N"]) -> None:
        """Add words, given the log-probabilities of all words at their positions.  End markers are skipped."""
        chosen = words != (-1 if self._vocabulary.end_id is None else self._vocabulary.end_id)
        words, scores = words[chosen], np.array(log_probabilities[chosen], dtype=np.float64)
        scores[:, self._markers] = -np.inf
        own = scores[np.arange(len(words)), words]
        # Better words in the order of their spelling, so that those with the same first letters are consecutive.  Of
        # equally likely words, the one with the smaller id is suggested first.
        ids = self._spellings.ids
        ordered = scores[:, ids]
        better = (ordered > own[:, None]) | ((ordered == own[:, None]) & (ids < words[:, None]))
        counts = np.concatenate([np.zeros((len(words), 1), np.int64), better.cumsum(1)], 1)
        unknown = np.isneginf(own)
        self._words.append(words)
        self._ranks.append(np.where(unknown, len(self._vocabulary), counts[:, -1]))
        self._letters.append(
            np.array(
                [self._letters_needed(word, row) for word, row in zip(words.tolist(), counts, strict=True)], np.int64
            )
        )

    def total(self) -> KeyboardNumbers:
        """The numbers of all words."""
        return self._numbers(None, slice(None))

    def bins(self) -> list[KeyboardNumbers]:
        """The numbers by frequency in the training text, for the bins that occur."""
        words = np.concatenate(self._words)
        bin_of = np.searchsorted(BIN_EDGES, self._vocabulary.counts[words], side="right") - 1
        return [self._numbers(BIN_EDGES[index], bin_of == index) for index in np.unique(bin_of).tolist()]

    def as_dict(self) -> dict[str, Any]:
        """The numbers of all words and of each bin as plain Python types, for JSON."""
        return {"total": asdict(self.total()), "bins": [asdict(numbers) for numbers in self.bins()]}

    def _letters_needed(self, word: int, better: NDArray[np.int64]) -> int:
        """The number of letters before ``word`` is suggested, at most its length; ``better`` are cumulative counts."""
        ranges = self._ranges.get(word)
        if ranges is None:
            spelling = self._vocabulary.words[word].casefold()
            ranges = [self._spellings.starting_with(spelling[:length]) for length in range(len(spelling) + 1)]
            self._ranges[word] = ranges
        for length, matching in enumerate(ranges):
            if better[matching.stop] - better[matching.start] < SUGGESTIONS:
                return length
        return len(ranges) - 1

    def _numbers(self, at_least: int | None, chosen: Any) -> KeyboardNumbers:
        words, ranks, letters = (np.concatenate(parts)[chosen] for parts in (self._words, self._ranks, self._letters))
        known = ~np.isin(words, self._markers)
        lengths = np.array([len(self._vocabulary.words[word].casefold()) for word in words[known].tolist()])
        typed = float((lengths + 1).sum())
        top1, top3, top5 = (float((ranks < number).mean()) if len(ranks) else 0.0 for number in TOP)
        saved = float((lengths - letters[known]).sum()) / typed if typed else 0.0
        return KeyboardNumbers(at_least, len(words), top1, top3, top5, saved)


@torch.no_grad()
def next_word_states(
    decoder: Decoder, batches: Iterable[Batch]
) -> Iterator[tuple[DecodingState, Int[Tensor, " B"], Tensor]]:
    """The state before each column of targets, the targets (B,), and the mask of those that count (B,).

    Args:
        decoder: The decoder of a model in evaluation mode.
        batches: Windows of a text.
    """
    model, core = decoder.model, None
    for batch in batches:
        inputs, targets, mask, reset = (part.to(decoder.device) for part in batch)
        core = reset_state(core, reset)
        for read, following, counted in zip(inputs.T, targets.T, mask.T, strict=True):
            hidden, core = model.step(model.embedding.first_step(read), core)
            yield DecodingState(hidden, core), following, counted
            codes = model.allocation.encode(following)
            for axis in range(decoder.num_codes - 1):
                _, core = model.read_code(axis, codes[:, axis], core)


def measure_keyboard(
    decoder: Decoder, vocabulary: Vocabulary, batches: Iterable[Batch], max_words: int | None = None
) -> KeyboardMeter:
    """Measure a neural model on the first ``max_words`` predicted words; None for all of them."""
    meter, number = KeyboardMeter(vocabulary), 0
    for state, targets, counted in next_word_states(decoder, batches):
        if max_words is not None and number >= max_words:
            break
        if bool(counted.any()):
            chosen = counted.nonzero()[:, 0]
            scores = decoder.log_probabilities(state.select(chosen)).float().cpu().numpy()
            meter.add(scores, targets[chosen].cpu().numpy())
            number += len(chosen)
    return meter
