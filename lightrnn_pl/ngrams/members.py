"""N-gram models as members of a mixture with a neural model: they score the same tokens with the same vocabulary.

A member is estimated from the training text (by this package or by lmplz), or read from a file (ARPA or a binary format
of KenLM).  Words of the vocabulary that the file does not have, including the vocabulary's own unknown word, share the
probability of the file's unknown word equally, so the probabilities over the vocabulary never sum to more than one.
They sum to less than one if the file has words outside the vocabulary.  The measured perplexity is then an upper bound.

If the vocabulary has no end marker, a text is one line: the context of n-grams is not reset.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from typing_extensions import override

from lightrnn_pl.allocation.solvers.base import GIB, free_memory
from lightrnn_pl.checks import check_choice, check_count
from lightrnn_pl.ngrams.arpa import BEGIN, END, UNKNOWN, open_text, read_arpa, write_arpa
from lightrnn_pl.ngrams.kneser_ney import estimate_kneser_ney, estimation_bytes
from lightrnn_pl.ngrams.ngram_model import ABSENT, Logs, NgramModel
from lightrnn_pl.vocabulary import Vocabulary

KENLM_MAGIC = b"mmap lm http://kheafield.com/code"
"""The beginning of a binary file of KenLM."""
_LN10 = math.log(10)
_BLOCK = 1 << 16


class Member(ABC):
    """A model in a mixture.

    Attributes:
        name: The name of the model in tables.
        details: Properties of the model for the report.
    """

    name: str
    details: dict[str, Any]

    @abstractmethod
    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """Natural-log probability of each token, given as vocabulary ids without begin markers, shape (N,)."""

    @abstractmethod
    def next_log_probabilities(self, history: NDArray[np.integer]) -> Logs:
        """Natural-log probability of each word of the vocabulary after the ids of a text, shape (V,)."""


class NgramMember(Member):
    """A back-off model in memory that scores ids of a vocabulary.

    Args:
        model: The n-gram model.  If it has no words, its ids must be those of the vocabulary.
        vocabulary: The vocabulary of the tokens.  If it has no end marker, that of the model is a word outside it.
        name: The name of the model in tables.
        spelling: The name of each vocabulary word in the model; None if the names are equal.  Markers are always named
            as in the ARPA format.

    Raises:
        ValueError: If the vocabulary has an end marker and the model has none.
    """

    def __init__(
        self, model: NgramModel, vocabulary: Vocabulary, name: str, spelling: Sequence[str] | None = None
    ) -> None:
        if vocabulary.end_id is None:
            model = replace(model, end=ABSENT)
        elif model.end == ABSENT:
            raise ValueError(f"{name} has no {END}; estimate the model from text with line ends")
        self.name, self._model = name, model
        unknown = ABSENT
        self._ids = np.arange(len(vocabulary))
        missing = np.zeros(len(vocabulary), dtype=np.bool_)
        if model.words:
            ids = {word: index for index, word in enumerate(model.words) if word not in (BEGIN, END)}
            unknown = ids.get(UNKNOWN, ABSENT)
            names = vocabulary.words if spelling is None else spelling
            self._ids = np.array([ids.get(word, unknown) for word in names], dtype=np.int64)
            missing = np.array([word not in ids for word in names])
        for marker, model_id in ((vocabulary.begin_id, model.begin), (vocabulary.end_id, model.end)):
            if marker is not None:
                self._ids[marker], missing[marker] = model_id, False
        shared = (self._ids == unknown) & (unknown != ABSENT)
        self._share = np.where(shared, -math.log(max(1, int(shared.sum()))), 0.0)
        outside = np.ones(model.num_words, dtype=np.bool_)
        outside[self._ids[self._ids != ABSENT]] = False
        if model.begin != ABSENT:
            outside[model.begin] = False
        self.details: dict[str, Any] = {
            "order": model.order,
            "ngrams": model.num_ngrams,
            "words_without_ngrams": int(missing.sum()),
            "words_outside_the_vocabulary": int(outside.sum()),
            "unigram_mass_outside": float(np.exp(model.levels[0].log_probability[outside]).sum()),
        }

    @override
    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        """Natural-log probability of each token, shape (N,); -inf for words outside a model without unknown word."""
        return self._model.log_probabilities(self._ids[tokens]) + self._share[tokens]

    @override
    def next_log_probabilities(self, history: NDArray[np.integer]) -> Logs:
        scores = self._model.next_log_probabilities(self._ids[history])
        return np.where(self._ids == ABSENT, -np.inf, scores[self._ids]) + self._share


class KenlmMember(Member):
    """A model read by the ``kenlm`` package: an ARPA file or one of KenLM's binary formats.

    Args:
        path: The file.
        vocabulary: The vocabulary of the tokens.
        name: The name of the model in tables.

    Raises:
        ValueError: If the package is not installed or cannot read the file.
    """

    def __init__(self, path: str | Path, vocabulary: Vocabulary, name: str) -> None:
        try:
            import kenlm
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{path} is a KenLM binary file; pip install 'lightrnn_pl[kenlm]', or use the ARPA file"
            ) from error
        try:
            self._model = kenlm.Model(str(path))
        except (OSError, RuntimeError) as error:
            raise ValueError(f"kenlm cannot read {path}: {' '.join(str(error).split())}") from error
        self._kenlm, self.name, self._end = kenlm, name, vocabulary.end_id
        markers = {vocabulary.begin_id: BEGIN, vocabulary.end_id: END}
        known = [word in self._model and word not in (BEGIN, END) for word in vocabulary.words]
        missing = sum(not is_known and word != UNKNOWN for is_known, word in zip(known, vocabulary.words, strict=True))
        missing -= sum(word_id is not None and not known[word_id] for word_id in markers)
        names = [
            markers.get(word_id, word if is_known else UNKNOWN)
            for word_id, (word, is_known) in enumerate(zip(vocabulary.words, known, strict=True))
        ]
        self._names = names
        share = -math.log(max(1, names.count(UNKNOWN)))
        self._share = np.array([share if name == UNKNOWN else 0.0 for name in names])
        self.details: dict[str, Any] = {
            "order": self._model.order,
            "words_without_ngrams": missing,
            "words_outside_the_vocabulary": None,  # kenlm cannot list the words of a file
        }

    @override
    def log_probabilities(self, tokens: NDArray[np.integer]) -> Logs:
        model, state, next_state = self._model, self._kenlm.State(), self._kenlm.State()
        model.BeginSentenceWrite(state)
        scores = np.empty(len(tokens))
        for position, word in enumerate(tokens.tolist()):
            scores[position] = model.BaseScore(state, self._names[word], next_state)
            state, next_state = next_state, state
            if word == self._end:  # never, if there is no end marker
                model.BeginSentenceWrite(state)
        return scores * _LN10 + self._share[tokens]

    @override
    def next_log_probabilities(self, history: NDArray[np.integer]) -> Logs:
        model, state, next_state = self._model, self._kenlm.State(), self._kenlm.State()
        ends = np.flatnonzero(history == self._end)
        model.BeginSentenceWrite(state)
        for word in history[ends[-1] + 1 if ends.size else 0 :].tolist():
            model.BaseScore(state, self._names[word], next_state)
            state, next_state = next_state, state
        by_name = {name: model.BaseScore(state, name, next_state) for name in set(self._names)}
        return np.array([by_name[name] for name in self._names]) * _LN10 + self._share


def read_member(path: str | Path, vocabulary: Vocabulary) -> Member:
    """Read a model from an ARPA file, or from a KenLM binary file with the ``kenlm`` package.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read.
    """
    with open_text(path) as file:
        binary = file.read(len(KENLM_MAGIC)) == KENLM_MAGIC
    name = Path(path).name
    member = KenlmMember(path, vocabulary, name) if binary else NgramMember(read_arpa(path), vocabulary, name)
    member.details = {"file": str(path), **member.details}
    return member


def estimate_member(
    tokens: NDArray[np.integer],
    vocabulary: Vocabulary,
    order: int = 5,
    estimator: str = "auto",
    arpa: str | Path | None = None,
) -> Member:
    """Estimate a modified Kneser-Ney model from a text.

    Args:
        tokens: Ids of the training text without begin markers, shape (N,).
        vocabulary: The vocabulary of the ids.
        order: The length of the longest n-grams.
        estimator: ``lmplz``, ``own``, or ``auto``, which uses lmplz if it is on the PATH, the vocabulary has an end
            marker and ``arpa`` is None.
        arpa: The ARPA file to write; None for none.

    Raises:
        ValueError: If a setting is invalid, the estimator fails, the ARPA file cannot be written, or there is not
            enough memory.
    """
    check_estimation(order, estimator, arpa, vocabulary, len(tokens))
    program = shutil.which("lmplz")
    name = f"Kneser-Ney {order}-gram"
    if program is not None and estimator != "own" and arpa is None and vocabulary.end_id is not None:
        model = run_lmplz(program, tokens, vocabulary, order)
        member = NgramMember(model, vocabulary, name, [str(word_id) for word_id in range(len(vocabulary))])
        member.details = {"estimator": "lmplz", **member.details}
        return member
    begin = vocabulary.begin_id
    model, discounts = estimate_kneser_ney(tokens, len(vocabulary), vocabulary.end_id, begin, order)
    if arpa is not None:
        words = vocabulary.words if begin is not None else (*vocabulary.words, BEGIN)
        write_arpa(replace(model, words=words), arpa)
    member = NgramMember(model, vocabulary, name)
    by_order = [{"discounts": list(each.amounts), "fallback": each.fallback} for each in discounts]
    member.details = {
        "estimator": "own",
        "arpa": None if arpa is None else str(arpa),
        **member.details,
        "by_order": by_order,
    }
    return member


def check_estimation(
    order: int, estimator: object, arpa: str | Path | None, vocabulary: Vocabulary, num_tokens: int
) -> None:
    """Check the settings of the estimation, and that a text of ``num_tokens`` tokens fits in memory.

    Raises:
        ValueError: If the order is invalid, the estimator is unknown, not available, or cannot write ARPA files or
            estimate a model without end marker, or there is not enough memory.
    """
    check_count("interpolate_order", order)
    check_choice("interpolate_estimator", estimator, ("auto", "lmplz", "own"))
    if estimator == "lmplz" and shutil.which("lmplz") is None:
        raise ValueError(
            "interpolate_estimator=lmplz, but lmplz is not on the PATH; install KenLM, or set interpolate_estimator=own"
        )
    if estimator == "lmplz" and arpa is not None:
        raise ValueError(
            "interpolate_arpa cannot be used with interpolate_estimator=lmplz, whose ARPA file contains word ids, not "
            "words; set interpolate_estimator=own"
        )
    if estimator == "lmplz" and vocabulary.end_id is None:
        raise ValueError(
            "interpolate_estimator=lmplz estimates models that predict line ends, but the neural model was trained "
            "with data.vocabulary.end=null; set interpolate_estimator=own"
        )
    # lmplz itself works on disk, but reading its ARPA file takes as much memory.
    needed, free = estimation_bytes(num_tokens, order), free_memory()
    if needed > free:
        raise ValueError(
            f"interpolate=kn needs about {needed / GIB:,.1f} GiB of memory for {num_tokens:,} training tokens, but "
            f"{free / GIB:,.1f} GiB are available; estimate the model on disk with KenLM, `lmplz -o {order} "
            "--skip_symbols -T . <train.txt >kn.arpa && build_binary trie kn.arpa kn.binary`, and set "
            "interpolate=kn.binary (requires pip install 'lightrnn_pl[kenlm]')"
        )


def run_lmplz(program: str, tokens: NDArray[np.integer], vocabulary: Vocabulary, order: int) -> NgramModel:
    """Estimate a model with lmplz.  The words of the model are the vocabulary ids as strings.

    Raises:
        ValueError: If lmplz fails.  The message contains the last line of its output.
    """
    with tempfile.TemporaryDirectory(prefix="lightrnn-lmplz-") as folder:
        text, arpa = Path(folder, "text"), Path(folder, "arpa")
        _write_ids(text, tokens, vocabulary)
        command = [program, "-o", str(order), "-S", "40%", "-T", folder, "--text", str(text), "--arpa", str(arpa)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode and "--discount_fallback" in result.stderr:
            result = subprocess.run([*command, "--discount_fallback"], capture_output=True, text=True, check=False)
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no error message"])[-1]
            raise ValueError(f"lmplz failed: {reason}; interpolate_estimator=own does not need it")
        return read_arpa(arpa)


def _write_ids(path: Path, tokens: NDArray[np.integer], vocabulary: Vocabulary) -> None:
    bounds = np.concatenate([[0], np.flatnonzero(np.asarray(tokens) == vocabulary.end_id) + 1])
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, len(bounds) - 1, _BLOCK):
            block = bounds[first : first + _BLOCK + 1]
            ids = tokens[block[0] : block[-1]]
            words = pa.array(ids[ids != vocabulary.end_id]).cast(pa.string())
            offsets = pa.array(block - block[0] - np.arange(len(block)), pa.int32())
            lines = pc.binary_join(pa.ListArray.from_arrays(offsets, words), " ")
            file.write("\n".join(lines.to_pylist()) + "\n")
