"""Creates n-best lists like those of a speech recognizer from real text, to test rescoring for word error rate.

Each sentence passes a noisy channel: every letter is deleted, replaced or doubled with a small probability.  The
hypotheses replace each word by words of the vocabulary that are spelled like the result; the acoustic score of a word
falls with the number of different letters, plus noise.  If no word of the vocabulary is spelled like the result, the
word is kept.  Results of at most two letters may be lost.  Words with other characters than letters do not change.  A
list contains the hypotheses with the best acoustic scores, so the sentence itself may be missing.

Lines of TEXT with fewer than 4 or more than 30 words are skipped; the first --sentences others are used.

    python benchmarks/speech_lists.py TEXT OUT_PREFIX --vocabulary TRAIN_TEXT --sentences 1000 --hypotheses 50
"""

import argparse
import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SCALE = 4.0
"""Acoustic score of one different letter."""


def edit_distance(one: str, other: str) -> int:
    """The number of letters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, start=1):
        previous, row[0] = row[0], number
        for column, against in enumerate(other, start=1):
            previous, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, previous + (letter != against)),
            )
    return row[-1]


def shortened(word: str) -> set[str]:
    """The word, and the word without one of its letters."""
    return {word, *(word[:index] + word[index + 1 :] for index in range(len(word)))}


class Channel:
    """The words that a recognizer considers for what it sees, with acoustic scores.

    Args:
        words: The vocabulary of the recognizer.
        error: Probability of an error for each letter.
        generator: Source of random numbers.
    """

    def __init__(self, words: Iterable[str], error: float, generator: np.random.Generator) -> None:
        self.error, self.generator = error, generator
        self.by_spelling: dict[str, list[str]] = defaultdict(list)
        for word in words:
            for spelling in shortened(word):
                self.by_spelling[spelling].append(word)

    def seen(self, word: str) -> str:
        """What the recognizer sees of a word."""
        letters = []
        for letter, draw in zip(word, self.generator.random(len(word)) / self.error, strict=True):
            if draw >= 1:
                letters.append(letter)
            elif draw >= 1 / 3:  # otherwise, the letter is lost
                letters.append(letter * 2 if draw < 2 / 3 else LETTERS[self.generator.integers(len(LETTERS))])
        return "".join(letters)

    def candidates(self, word: str) -> tuple[list[str], np.ndarray]:
        """Words that the recognizer considers instead of ``word``, "" for none, and their acoustic scores."""
        if not word.isalpha():
            return [word], np.zeros(1)
        seen = self.seen(word)
        near = {other for spelling in shortened(seen) for other in self.by_spelling.get(spelling, ())}
        found = (sorted(near) or [word]) + ([""] if len(seen) <= 2 else [])
        distances = [edit_distance(seen, other) for other in found]
        return found, -SCALE * np.array(distances) + self.generator.normal(0, 1, len(found))


def hypotheses(words: list[str], count: int, channel: Channel) -> list[tuple[float, str]]:
    """The texts with the best acoustic scores, and these scores, best first."""
    best: list[tuple[float, str]] = [(0.0, "")]
    for word in words:
        found, scores = channel.candidates(word)
        best = heapq.nlargest(
            count,
            (
                (total + score, f"{text} {other}".strip())
                for total, text in best
                for other, score in zip(found, scores.tolist(), strict=True)
            ),
        )
    return best


def make(text: Path, prefix: Path, vocabulary: Path, sentences: int, count: int, error: float, seed: int) -> None:
    """Write ``prefix.nbest`` and ``.ref`` as for Moses, and ``.words_text``, ``.acwt`` and ``.text`` as for Kaldi."""
    counts = Counter(word for line in vocabulary.read_text(encoding="utf-8").splitlines() for word in line.split())
    channel = Channel((word for word in counts if word.isalpha()), error, np.random.default_rng(seed))
    lines = (line.split() for line in text.read_text(encoding="utf-8").splitlines())
    chosen = list(itertools.islice((line for line in lines if 4 <= len(line) <= 30), sentences))
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.ref").write_text("".join(f"{' '.join(line)}\n" for line in chosen), encoding="utf-8")
    with ExitStack() as stack:
        moses, texts, costs, references = (
            stack.enter_context(Path(f"{prefix}.{suffix}").open("w", encoding="utf-8"))
            for suffix in ("nbest", "words_text", "acwt", "text")
        )
        for number, words in enumerate(chosen):
            references.write(f"utt{number:06d} {' '.join(words)}\n")
            for rank, (score, hypothesis) in enumerate(hypotheses(words, count, channel), start=1):
                moses.write(f"{number} ||| {hypothesis} ||| Acoustic0= {score:.4f} ||| {score:.4f}\n")
                texts.write(f"utt{number:06d}-{rank} {hypothesis}\n")
                costs.write(f"utt{number:06d}-{rank} {-score:.4f}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="one tokenized sentence per line, of 4 to 30 words")
    parser.add_argument("prefix", type=Path, help="write PREFIX.nbest and PREFIX.ref, and the files of Kaldi")
    parser.add_argument("--vocabulary", type=Path, required=True, help="text that contains the words of the recognizer")
    parser.add_argument("--sentences", type=int, default=1000, help="number of lists, or fewer if TEXT is short")
    parser.add_argument("--hypotheses", type=int, default=50, help="maximum number of hypotheses per list")
    parser.add_argument("--error", type=float, default=0.1, help="probability of an error for each letter")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for path in (args.text, args.vocabulary):
        if not path.is_file():
            parser.error(f"{path} is not a file; pass a text file")
    make(args.text, args.prefix, args.vocabulary, args.sentences, args.hypotheses, args.error, args.seed)
