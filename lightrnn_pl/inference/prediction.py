"""The most likely next words of a text, with their probabilities, proven to be the most likely.

For LightRNN they are found row by row (``search``); the number of rows that were opened is returned with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from lightrnn_pl.checks import check_count
from lightrnn_pl.inference.decoding import Decoder
from lightrnn_pl.vocabulary import Vocabulary

SEARCHES = ("exact", "greedy")


@dataclass(frozen=True)
class Prediction(Sequence[tuple[str, float]]):
    """Next words of one text: a sequence of (word, probability) pairs, best first.

    Attributes:
        words: Most likely first; of equally likely words, in any order.
        probabilities: Of each, exact: those of all V words would sum to one.
        rows_opened: Rows of the word table that were looked into (for k = 3 prefixes of one code and of two); 0 where
            words have one code.
        exact: Whether these are the most likely words of all, or those of the most likely row only.
    """

    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    rows_opened: int
    exact: bool = True

    def __len__(self) -> int:
        return len(self.words)

    @overload
    def __getitem__(self, place: int) -> tuple[str, float]: ...

    @overload
    def __getitem__(self, place: slice) -> list[tuple[str, float]]: ...

    def __getitem__(self, place: int | slice) -> Any:
        return list(self)[place]

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return zip(self.words, self.probabilities, strict=True)


def next_words(
    decoder: Decoder,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    k: int = 10,
    search: str = "exact",
    batch_size: int = 32,
) -> list[Prediction]:
    """The k most likely next words of each text.

    Args:
        decoder: Of a model in evaluation mode.
        vocabulary: Its words; a word that is not among them is read as the unknown word.
        texts: Tokenised, words separated by whitespace; each is read from the start of a line, and may be empty.
        k: How many words; no more than V are given.
        search: ``exact``; or ``greedy``, the paper's way (LightRNN, section 3.1), which looks into the most likely row
            alone.  A greedy answer misses likelier words of other rows, and may have fewer than k words.
        batch_size: Texts searched at a time.

    Raises:
        ValueError: If an argument is none of these, or a word is unknown and the vocabulary has no unknown word.
    """
    check_count("k", k)
    check_count("batch_size", batch_size)
    if search not in SEARCHES:
        raise ValueError(f"search={search!r} is not a valid search method; use one of {', '.join(SEARCHES)}")
    encoded = [encode_text(vocabulary, text) for text in texts]
    greedy = search == "greedy"
    # Texts of one length are read in one call.
    order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
    predictions: dict[int, Prediction] = {}
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        found = decoder.search(decoder.after([encoded[place] for place in places]), k, greedy)
        values, words = found.log_probabilities.double().exp().tolist(), found.words.tolist()
        for place, row, ids, opened in zip(places, values, words, found.opened.tolist(), strict=True):
            held = [(word, value) for word, value in zip(ids, row, strict=True) if word >= 0]
            predictions[place] = Prediction(
                tuple(vocabulary.decode(word for word, _ in held)),
                tuple(value for _, value in held),
                opened,
                exact=not greedy or decoder.num_codes == 1,
            )
    return [predictions[place] for place in range(len(texts))]


def encode_text(vocabulary: Vocabulary, text: Any) -> list[int]:
    """The ids of a text's words, unknown ones as the unknown word.

    Raises:
        ValueError: If it is no string, or a word is unknown and the vocabulary has no unknown word.
    """
    if not isinstance(text, str):
        raise ValueError(f"a text must be a string of words separated by whitespace, got {text!r}")
    return vocabulary.encode(text.split()).tolist()
