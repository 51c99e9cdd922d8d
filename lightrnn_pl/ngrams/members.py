"""N-gram models as partners of a neural one: the same words, the same tokens, in the same order.

A partner comes from the training text (estimated here or by lmplz) or from a file (ARPA, or one of kenlm's own).  Words
of the vocabulary that a file does not have share its unknown word's probability evenly, the vocabulary's unknown word
among them, so that the probabilities of the vocabulary's words never sum to more than one.  They sum to less where the
file has words that the vocabulary has not; what is measured is then an upper bound of the perplexity.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lightrnn_pl.checks import check_choice, check_count
from lightrnn_pl.ngrams.arpa import BEGIN, END, UNKNOWN, open_text, read_arpa, write_arpa
from lightrnn_pl.ngrams.kneser_ney import estimate_kneser_ney
from lightrnn_pl.ngrams.ngram_model import ABSENT, Logs, NgramModel
from lightrnn_pl.vocabulary import Vocabulary

_KENLM_MAGIC = b"mmap lm http://kheafield.com/code"
_LN10 = math.log(10)


class Member(Protocol):
    """A partner in a mixture.

    Attributes:
        name: What it is called in a table.
        facts: What a report says of it.
    """

    name: str
    facts: dict[str, Any]

    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """Natural-log probability of each token, ids of the vocabulary without begin markers, shape (N,)."""
        ...


class NgramMember:
    """A back-off model in memory, asked with the ids of a vocabulary.

    Args:
        model: The n-grams; where its words are not spelled, its ids are the vocabulary's.
        vocabulary: Whose ids the tokens will be; has an end marker.
        name: What it is called in a table.
        spelling: How the model spells the vocabulary's words; None as the vocabulary does.  Its markers are the
            format's in any case.
    """

    def __init__(
        self, model: NgramModel, vocabulary: Vocabulary, name: str, spelling: Sequence[str] | None = None
    ) -> None:
        self.name, self._model = name, model
        unknown = ABSENT
        self._ids = np.arange(len(vocabulary))
        missing = np.zeros(len(vocabulary), dtype=np.bool_)
        if model.words:
            ids = {word: number for number, word in enumerate(model.words) if word not in (BEGIN, END)}
            unknown = ids.get(UNKNOWN, ABSENT)
            names = vocabulary.words if spelling is None else spelling
            self._ids = np.array([ids.get(word, unknown) for word in names], dtype=np.int64)
            missing = np.array([word not in ids for word in names])
        for marker, place in ((vocabulary.begin_id, model.begin), (vocabulary.end_id, model.end)):
            if marker is not None:
                self._ids[marker], missing[marker] = place, False
        shared = (self._ids == unknown) & (unknown != ABSENT)
        self._share = np.where(shared, -math.log(max(1, int(shared.sum()))), 0.0)
        outside = np.ones(model.num_words, dtype=np.bool_)
        outside[self._ids[self._ids != ABSENT]] = False
        if model.begin != ABSENT:
            outside[model.begin] = False
        self.facts: dict[str, Any] = {
            "order": model.order,
            "ngrams": model.num_ngrams,
            "words_without_ngrams": int(missing.sum()),
            "words_outside_the_vocabulary": int(outside.sum()),
            "unigram_mass_outside": float(np.exp(model.levels[0].log_probability[outside]).sum()),
        }

    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """As the protocol says; -inf for words that the model neither has nor has an unknown word for."""
        return self._model.log_probabilities(self._ids[tokens]) + self._share[tokens]


class KenlmMember:
    """A model that the ``kenlm`` package reads: ARPA, or one of its own binary formats.

    Args:
        path: The file.
        vocabulary: Whose ids the tokens will be; has an end marker.
        name: What it is called in a table.

    Raises:
        ValueError: If the package is not installed or does not read the file.
    """

    def __init__(self, path: str | Path, vocabulary: Vocabulary, name: str) -> None:
        try:
            import kenlm
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{path} is a binary file of kenlm's; pip install 'lightrnn_pl[kenlm]', or give the ARPA file"
            ) from error
        try:
            self._model = kenlm.Model(str(path))
        except (OSError, RuntimeError) as error:
            raise ValueError(f"kenlm cannot read {path}: {' '.join(str(error).split())}") from error
        self._kenlm, self.name, self._end = kenlm, name, vocabulary.end_id
        markers = {vocabulary.begin_id: BEGIN, vocabulary.end_id: END}
        known = [word in self._model and word not in (BEGIN, END) for word in vocabulary.words]
        missing = sum(not has and word != UNKNOWN for has, word in zip(known, vocabulary.words, strict=True))
        missing -= sum(place is not None and not known[place] for place in markers)
        names = [
            markers.get(place, word if has else UNKNOWN)
            for place, (word, has) in enumerate(zip(vocabulary.words, known, strict=True))
        ]
        self._names = names
        share = -math.log(max(1, names.count(UNKNOWN)))
        self._share = np.array([share if name == UNKNOWN else 0.0 for name in names])
        self.facts: dict[str, Any] = {
            "order": self._model.order,
            "words_without_ngrams": missing,
            "words_outside_the_vocabulary": None,  # such a file cannot be asked for all its words
        }

    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """As the protocol says."""
        model, state, after = self._model, self._kenlm.State(), self._kenlm.State()
        model.BeginSentenceWrite(state)
        scores = np.empty(len(tokens))
        for place, word in enumerate(tokens.tolist()):
            scores[place] = model.BaseScore(state, self._names[word], after)
            state, after = after, state
            if word == self._end:
                model.BeginSentenceWrite(state)
        return scores * _LN10 + self._share[tokens]


def read_member(path: str | Path, vocabulary: Vocabulary) -> Member:
    """The model in a file: ARPA is read here, kenlm's binary formats by the ``kenlm`` package.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read.
    """
    with open_text(path) as file:
        binary = file.read(len(_KENLM_MAGIC)) == _KENLM_MAGIC
    name = Path(path).name
    member = KenlmMember(path, vocabulary, name) if binary else NgramMember(read_arpa(path), vocabulary, name)
    member.facts = {"file": str(path), **member.facts}
    return member


def estimate_member(
    tokens: NDArray[np.integer],
    vocabulary: Vocabulary,
    order: int = 5,
    estimator: str = "auto",
    arpa: str | Path | None = None,
) -> Member:
    """Modified Kneser-Ney of a text.

    Args:
        tokens: Ids of the training text with end markers, without begin markers, shape (N,).
        vocabulary: Whose ids they are.
        order: The length of the longest n-grams.
        estimator: ``lmplz``, ``own``, or ``auto``: lmplz where it is on the PATH and no ARPA file is asked for.
        arpa: Where to keep the n-grams; None for nowhere.

    Raises:
        ValueError: As ``check_estimation`` does, or if the estimator fails or cannot write the ARPA file.
    """
    check_estimation(order, estimator, arpa)
    program = shutil.which("lmplz")
    name = f"Kneser-Ney {order}-gram"
    if program is not None and estimator != "own" and arpa is None:
        model = run_lmplz(program, tokens, vocabulary, order)
        member = NgramMember(model, vocabulary, name, [str(number) for number in range(len(vocabulary))])
        member.facts = {"estimator": "lmplz", **member.facts}
        return member
    begin, end = vocabulary.begin_id, vocabulary.end_id
    assert end is not None
    model, discounts = estimate_kneser_ney(tokens, len(vocabulary), end, begin, order)
    if arpa is not None:
        words = vocabulary.words if begin is not None else (*vocabulary.words, BEGIN)
        write_arpa(replace(model, words=words), arpa)
    member = NgramMember(model, vocabulary, name)
    stated = [{"discounts": list(each.amounts), "fallback": each.fallback} for each in discounts]
    member.facts = {"estimator": "own", "arpa": None if arpa is None else str(arpa), **member.facts, "by_order": stated}
    return member


def check_estimation(order: object, estimator: object, arpa: str | Path | None) -> None:
    """Refuse settings with which nothing can be estimated.

    Raises:
        ValueError: If the order is none, the estimator is not known or not there, or does not write ARPA files.
    """
    check_count("interpolate_order", order)
    check_choice("interpolate_estimator", estimator, ("auto", "lmplz", "own"))
    if estimator == "lmplz" and shutil.which("lmplz") is None:
        raise ValueError("interpolate_estimator=lmplz, but there is no lmplz on the PATH; install KenLM, or use own")
    if estimator == "lmplz" and arpa is not None:
        raise ValueError(
            "interpolate_arpa is written by interpolate_estimator=own: lmplz sees numbers, because it takes no word "
            "spelled <unk>"
        )


def run_lmplz(program: str, tokens: NDArray[np.integer], vocabulary: Vocabulary, order: int) -> NgramModel:
    """What lmplz makes of a text; words are spelled by their ids.

    Raises:
        ValueError: If it fails, with the last thing that it said.
    """
    with tempfile.TemporaryDirectory(prefix="lightrnn-lmplz-") as folder:
        text, arpa = Path(folder, "text"), Path(folder, "arpa")
        _write_ids(text, tokens, vocabulary)
        command = [program, "-o", str(order), "-S", "40%", "-T", folder, "--text", str(text), "--arpa", str(arpa)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and "--discount_fallback" in done.stderr:
            done = subprocess.run([*command, "--discount_fallback"], capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise ValueError(f"lmplz failed: {said}; interpolate_estimator=own does without it")
        return read_arpa(arpa)


def _write_ids(path: Path, tokens: NDArray[np.integer], vocabulary: Vocabulary) -> None:
    is_end = np.asarray(tokens) == vocabulary.end_id
    words = pa.array(np.asarray(tokens)[~is_end]).cast(pa.string())
    bounds = np.concatenate([[0], np.flatnonzero(is_end) - np.arange(int(is_end.sum()))])
    lines = pa.LargeListArray.from_arrays(pa.array(bounds, pa.int64()), words)
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, len(lines), 1 << 16):
            file.write("\n".join(pc.binary_join(lines[first : first + (1 << 16)], " ").to_pylist()) + "\n")
