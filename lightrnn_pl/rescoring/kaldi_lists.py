"""N-best lists of Kaldi, converted to the format of Moses line by line.

    utterance-n word word ...    words_text: the hypotheses, numbered from 1 in the order of the recognizer
    utterance-n cost             acwt, lmwt.nolm and others: a cost of each hypothesis, lower is better
    utterance word word ...      text: the references

These are the files of ``steps/pytorchnn/lmrescore_nbest_pytorchnn.sh``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from lightrnn_pl.inference.text_lines import text_lines


def read_references(path: str) -> dict[str, str]:
    """The references by utterance.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line is empty, or an utterance is duplicated.
    """
    references: dict[str, str] = {}
    for number, (key, text) in enumerate(_keys_and_values(path), start=1):
        if key in references:
            raise ValueError(f"{path}, line {number}: the utterance {key} is duplicated; remove one of its references")
        references[key] = text
    return references


class KaldiList:
    """An n-best list of Kaldi.

    In the format of Moses, the sentences are the utterances, numbered from 0.  The features ``Cost0``, ``Cost1``, ...
    are the negated costs, and the score is -n.  Without costs, the only feature is ``Rank0``, which is -n, too.

    Args:
        path: The hypotheses.
        costs: Files with costs, which have the same keys in the same order as ``path``.
        utterances: The utterances in the order of their references; None to number them as they occur in the list.

    Attributes:
        utterances: The utterance of each sentence.
    """

    def __init__(self, path: str, costs: Sequence[str] = (), utterances: Iterable[str] | None = None) -> None:
        self._path, self._costs, self._has_references = path, costs, utterances is not None
        self.utterances: list[str] = list(utterances or ())
        self._sentences = {utterance: number for number, utterance in enumerate(self.utterances)}

    def lines(self) -> Iterator[bytes]:
        """The lines in the format of Moses.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If a line is malformed or out of order, an utterance has no reference, or the files differ in
                their keys.
        """
        last = 0
        files = [_keys_and_values(path) for path in (self._path, *self._costs)]
        for number, ((key, text), *costs) in enumerate(itertools.zip_longest(*files, fillvalue=("", "")), start=1):
            features = []
            for index, (path, (other, cost)) in enumerate(zip(self._costs, costs, strict=True)):
                if other != key:
                    raise ValueError(
                        f"line {number} has the key {key or '(none)'}, but {path} has {other or '(none)'}; pass costs "
                        "of the same hypotheses in the same order"
                    )
                features.append(f"Cost{index}= {-_number(path, number, cost)}")
            utterance, _, rank = key.rpartition("-")
            if not (utterance and rank.isascii() and rank.isdigit()):
                raise ValueError(f"line {number}: the key {key} is not an utterance and a number, such as {key}-1")
            sentence = self._sentence(utterance)
            if sentence < last:
                raise ValueError(
                    f"line {number}: the utterance {utterance} is out of order; sort the list and its references by "
                    "utterance"
                )
            last = sentence
            yield f"{sentence} ||| {text} ||| {' '.join(features) or f'Rank0= -{rank}'} ||| -{rank}".encode()

    def _sentence(self, utterance: str) -> int:
        if utterance not in self._sentences:
            if self._has_references:
                raise ValueError(f"the utterance {utterance} has no reference; add a line that begins with {utterance}")
            self._sentences[utterance] = len(self.utterances)
            self.utterances.append(utterance)
        return self._sentences[utterance]


def _keys_and_values(path: str) -> Iterator[tuple[str, str]]:
    """The first word of each line, and the rest of it."""
    for number, line in enumerate(text_lines(path), start=1):
        key, *value = line.split(maxsplit=1) or [""]
        if not key:
            raise ValueError(f"{path}, line {number} is empty; with format=kaldi, each line begins with a key")
        yield key, "".join(value).rstrip()


def _number(path: str, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path}, line {line}: the cost {text!r} is not a number") from None
