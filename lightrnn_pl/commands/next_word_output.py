"""The output of next words, and messages about words outside the vocabulary, for commands that read prompts."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightrnn_pl.inference.prediction import Prediction
    from lightrnn_pl.vocabulary import Vocabulary


def print_next_words(prediction: Prediction, prefix: str) -> None:
    """Print one word and its probability per line, or report that no word starts with ``prefix``."""
    for word, probability in prediction:
        print(f"{word}\t{probability:.6g}")
    if not prediction:
        print_message(f"no word of the vocabulary starts with {prefix}")
    sys.stdout.flush()


def report_unknown_words(words: Iterable[str], vocabulary: Vocabulary) -> None:
    """Report the words of a prompt that are read as the unknown word."""
    unknown = [word for word in dict.fromkeys(words) if word not in vocabulary]
    if unknown and vocabulary.unknown is not None:
        print_message(f"not in the vocabulary, read as {vocabulary.unknown}: {' '.join(unknown)}")


def print_message(text: str) -> None:
    """Print to standard error, so that standard output contains results only."""
    print(text, file=sys.stderr, flush=True)
