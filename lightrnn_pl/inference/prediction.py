"""The most likely next words of a text, with their exact probabilities.

For models with several codes per word, the search proceeds row by row (``top_k``), and the number of expanded rows is
returned with the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch

from lightrnn_pl.checks import check_count
from lightrnn_pl.inference.completion import log_probabilities_of, spellings_of
from lightrnn_pl.inference.decoding import Decoder, DecodingState
from lightrnn_pl.tokenization import check_text
from lightrnn_pl.vocabulary import Vocabulary

SEARCHES = ("exact", "greedy")


@dataclass(frozen=True)
class Prediction(Sequence[tuple[str, float]]):
    """Next words of a text: a sequence of (word, probability) pairs, most likely first.

    Attributes:
        words: The words, most likely first.  Equally likely words are in arbitrary order.
        probabilities: The exact probability of each word.
        rows_opened: Number of rows of the word table that were expanded.  With three codes per word, prefixes of one
            and of two codes are counted; with one code per word, it is 0.
        exact: True if these are the most likely words of the vocabulary, False if only the most likely row was
            searched.
    """

    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    rows_opened: int
    exact: bool = True

    def __repr__(self) -> str:
        return f"Prediction({list(self)}, rows_opened={self.rows_opened}, exact={self.exact})"

    def __len__(self) -> int:
        return len(self.words)

    @overload
    def __getitem__(self, index: int) -> tuple[str, float]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, float]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        return list(self)[index]

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return zip(self.words, self.probabilities, strict=True)


def next_words(
    decoder: Decoder,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    k: int = 10,
    search: str = "exact",
    batch_size: int = 32,
    prefix: str = "",
    unknown: bool = False,
) -> list[Prediction]:
    """The k most likely next words of each text.

    Args:
        decoder: The decoder of a model in evaluation mode.
        vocabulary: The vocabulary of the model.  Words outside of it are read as the unknown word.
        texts: Tokenized texts, words separated by whitespace.  Each is read from the start of a line, and may be empty.
        k: Number of words, at most V.
        search: ``exact``, or ``greedy``, which searches only the most likely row (LightRNN, section 3.1).  Greedy
            search misses more likely words in other rows, and may return fewer than k words.
        batch_size: Number of texts searched at a time.
        prefix: If given, only words that start with these letters, ignoring case, are returned.  Their probabilities
            are still those among all words.
        unknown: Whether the unknown word may be returned.  Probabilities do not depend on it: those of all other words
            sum to less than one.

    Raises:
        ValueError: If an argument is invalid, or a word is unknown and the vocabulary has no unknown word.
    """
    check_count("k", k)
    check_count("batch_size", batch_size)
    if search not in SEARCHES:
        raise ValueError(f"search={search!r} is not a valid search method; use one of {', '.join(SEARCHES)}")
    if prefix and search != "exact":
        raise ValueError(f"search={search} cannot be combined with prefix={prefix}; use exact")
    encoded = [encode_text(vocabulary, text) for text in texts]
    excluded = excluded_words(vocabulary, unknown)
    if prefix:
        starting = spellings_of(vocabulary).words_starting_with(prefix, excluded)
        candidates = torch.from_numpy(starting).to(decoder.device)
        return [_completions(decoder, vocabulary, decoder.state_after([text]), candidates, k) for text in encoded]
    greedy = search == "greedy"
    # Texts of equal length are read in one call.
    order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
    predictions: dict[int, Prediction] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        state = decoder.state_after([encoded[index] for index in batch])
        top = decoder.search(state, k, greedy, excluded)
        probabilities, words = top.log_probabilities.double().exp().tolist(), top.words.tolist()
        for index, values, ids, opened in zip(batch, probabilities, words, top.opened.tolist(), strict=True):
            pairs = [pair for pair in zip(ids, values, strict=True) if pair[0] >= 0]
            predictions[index] = Prediction(
                tuple(vocabulary.decode(word for word, _ in pairs)),
                tuple(value for _, value in pairs),
                opened,
                exact=not greedy or decoder.num_codes == 1,
            )
    return [predictions[index] for index in range(len(texts))]


def excluded_words(vocabulary: Vocabulary, unknown: bool) -> list[int]:
    """The ids of the words that are never predicted: the unknown word, unless ``unknown`` is True."""
    return [] if unknown or vocabulary.unknown_id is None else [vocabulary.unknown_id]


def _completions(
    decoder: Decoder, vocabulary: Vocabulary, state: DecodingState, candidates: torch.Tensor, k: int
) -> Prediction:
    """The k most likely of ``candidates``."""
    if not len(candidates):
        return Prediction((), (), 0)
    probabilities = log_probabilities_of(decoder, state, candidates).double().exp()
    best, indices = probabilities.topk(min(k, len(candidates)))
    return Prediction(tuple(vocabulary.decode(candidates[indices].tolist())), tuple(best.tolist()), 0)


def encode_text(vocabulary: Vocabulary, text: Any) -> list[int]:
    """The word ids of a text.  Words outside the vocabulary become the unknown word.

    Raises:
        ValueError: If ``text`` is not a string, or a word is unknown and the vocabulary has no unknown word.
    """
    check_text(text)
    return vocabulary.encode(text.split()).tolist()
