"""Next words of n-gram models, of caches, and of mixtures with a neural model, with exact probabilities.

The probability of every word of the vocabulary is computed, so the most likely words are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.checks import check_count
from lightrnn_pl.data.batches import SentenceBatches, StreamBatches, over_positions, target_mask
from lightrnn_pl.evaluation.keyboard import KeyboardMeter, next_word_states
from lightrnn_pl.evaluation.progress import with_progress
from lightrnn_pl.inference.completion import spellings_of
from lightrnn_pl.inference.prediction import Prediction, excluded_words
from lightrnn_pl.ngrams.members import Member
from lightrnn_pl.ngrams.mixture import Logs, mix
from lightrnn_pl.vocabulary import Vocabulary


def most_likely(logs: Logs, vocabulary: Vocabulary, k: int = 10, prefix: str = "", unknown: bool = False) -> Prediction:
    """The k most likely words, given the natural-log probabilities of all words, (V,).

    Args:
        logs: The log-probabilities.
        vocabulary: The words.
        k: Number of words.
        prefix: If given, only words that start with these letters, ignoring case.
        unknown: Whether the unknown word may be returned.
    """
    check_count("k", k)
    excluded = excluded_words(vocabulary, unknown)
    ids = np.setdiff1d(np.arange(len(vocabulary)), excluded)
    if prefix:
        ids = spellings_of(vocabulary).words_starting_with(prefix, excluded)
    best = ids[np.argsort(-logs[ids], kind="stable")[:k]]
    return Prediction(tuple(vocabulary.decode(best)), tuple(np.exp(logs[best]).tolist()), 0)


class Mixture:
    """A neural model interpolated with n-gram models and caches.

    Args:
        bundle: The neural model.
        members: The other models, with the vocabulary of the bundle.
        weights: The weight of the neural model, followed by those of the members; they sum to one.

    Raises:
        ValueError: If the weights are not one nonnegative number per model that sum to one.
    """

    def __init__(
        self, bundle: Bundle, members: Sequence[Member], weights: Sequence[float] | NDArray[np.float64]
    ) -> None:
        self.bundle, self.members = bundle, list(members)
        self.weights: NDArray[np.float64] = np.asarray(weights, dtype=np.float64)
        is_valid = self.weights.shape == (len(members) + 1,) and (self.weights >= 0).all()
        if not is_valid or abs(self.weights.sum() - 1) > 1e-3:
            raise ValueError(
                f"weights={list(weights)} must be {len(members) + 1} nonnegative numbers that sum to one: that of the "
                "neural model, followed by one for each interpolated model"
            )

    def next_words(self, text: str, k: int = 10, prefix: str = "", unknown: bool = False) -> Prediction:
        """The k most likely next words of a text, which is read from the start of a line; see :func:`most_likely`."""
        ids = self.bundle.vocabulary.encode(self.bundle.tokenize(text)).tolist()
        state = self.bundle.decoder.state_after([ids])
        neural = self.bundle.decoder.log_probabilities(state).double().cpu().numpy()
        mixed = self._mix(neural, self._by_member([np.array(ids)]))[0]
        return most_likely(mixed, self.bundle.vocabulary, k, prefix, unknown)

    def measure_keyboard(
        self, loader: StreamBatches | SentenceBatches, max_words: int | None = None
    ) -> list[KeyboardMeter]:
        """Measure each model and the mixture on the first ``max_words`` predicted words of a text.

        Returns:
            The numbers of the neural model, of each member, and of the mixture.
        """
        decoder, vocabulary = self.bundle.decoder, self.bundle.vocabulary
        meters, number = [KeyboardMeter(vocabulary) for _ in range(len(self.members) + 2)], 0
        is_target = target_mask(loader)
        tokens, indices = np.asarray(loader.tokens)[is_target], np.cumsum(is_target) - 1
        columns = (column for batch in over_positions(loader) for column in batch.targets.T)
        batches = with_progress(loader, Console(stderr=True), "batches")
        for (state, targets, counted), positions in zip(next_word_states(decoder, batches), columns, strict=True):
            if max_words is not None and number >= max_words:
                break
            chosen = counted.nonzero()[:, 0]
            if not len(chosen):
                continue
            neural = decoder.log_probabilities(state.select(chosen)).double().cpu().numpy()
            histories = [tokens[: indices[position]] for position in positions[chosen.cpu()].tolist()]
            words = targets[chosen].cpu().numpy()
            by_member = self._by_member(histories)
            for meter, logs in zip(meters, [neural, *by_member, self._mix(neural, by_member)], strict=True):
                meter.add(logs, words)
            number += len(chosen)
        return meters

    def _by_member(self, histories: Sequence[NDArray[Any]]) -> list[Logs]:
        """The log-probabilities of all words after each history under each member, each (N, V)."""
        return [np.stack([member.next_log_probabilities(one) for one in histories]) for member in self.members]

    def _mix(self, neural: Logs, by_member: Sequence[Logs]) -> Logs:
        stacked = np.stack([neural, *by_member])
        return mix(stacked.reshape(len(stacked), -1), self.weights).reshape(neural.shape)
