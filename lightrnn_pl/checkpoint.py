"""The bundle: a trained model in one file, with everything needed to use it.

A bundle contains the weights, the allocation, the vocabulary, the configuration, the evaluation protocol and
fingerprints of these parts.  It is written atomically.  Loading reads data only: it runs no code from the file,
validates its content (``bundle_content``), and builds the model from a closed set of classes (``stored_model``).  The
checkpoint that a training run resumes from is a different file, written by Lightning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import DictConfig

from lightrnn_pl.allocation.allocation_file import write_table
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.allocation.word_vectors import write_vectors
from lightrnn_pl.building import as_config, as_plain
from lightrnn_pl.bundle_content import BundleContent, parse_content, settings_fingerprint, weights_fingerprint
from lightrnn_pl.files import atomic_write
from lightrnn_pl.inference.decoding import Decoder
from lightrnn_pl.inference.generation import Continuation, Sampling, beam_search, continue_text
from lightrnn_pl.inference.prediction import Prediction, next_words
from lightrnn_pl.inference.scoring import check_lines, score_lines
from lightrnn_pl.model_folder import WEIGHTS, is_model_folder, read_model_folder
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.packing import UNPACKED_RATIO
from lightrnn_pl.run_folder import bundle_file
from lightrnn_pl.stored_model import restore_model
from lightrnn_pl.tensor_file import read_tensors
from lightrnn_pl.tokenization import check_text, tokenizer_named
from lightrnn_pl.vocabulary import Vocabulary

FORMAT = "lightrnn_pl bundle"
VERSION = 1

DEMO = "demo"
"""The name of the model that is part of the package (docs/demo_model.py)."""

_DEMO_FOLDER = Path(__file__).with_name("demo")


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything needed to use it.

    Attributes:
        model: The language model, in evaluation mode.
        vocabulary: Words and their ids.
        config: The resolved configuration of the run.
        protocol: How text was read in training and evaluation: markers, unknown words, batching.
        metrics: Metrics of the model at the time it was saved.
        tokenizer: How texts passed to the methods are split into words: ``whitespace``, ``treebank`` or ``ptb``
            (``lightrnn_pl.tokenization``).
    """

    model: LanguageModel
    vocabulary: Vocabulary
    config: DictConfig
    protocol: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "whitespace"

    def __repr__(self) -> str:
        parts = (type(part).__name__ for part in (self.model.embedding, self.model.core, self.model.output))
        sizes = f"words={len(self.vocabulary):,}, parameters={self.model.num_parameters:,}"
        nll = self.metrics.get("valid_nll")
        quality = "" if nll is None else f", valid_perplexity={math.exp(nll):.1f}"
        return f"Bundle({', '.join(parts)}, {sizes}{quality})"

    def tokenize(self, text: str) -> list[str]:
        """The words of a text, which need not be in the vocabulary.

        Raises:
            ValueError: If ``text`` is not a string, or the tokenizer requires a package that is not installed.
        """
        check_text(text)
        return tokenizer_named(self.tokenizer)(text)

    def _tokenized(self, text: str) -> str:
        return " ".join(self.tokenize(text))

    def score(self, lines: Sequence[str], batch_size: int = 32) -> list[list[float]]:
        """Natural-log probability of each word of each line, followed by the end marker if the vocabulary has one.

        The state is reset before every line.  Words outside the vocabulary are scored as the unknown word.

        Args:
            lines: The text, which is split into words by :meth:`tokenize`.
            batch_size: Number of lines scored at a time.

        Raises:
            ValueError: If ``lines`` is a single string or contains anything but strings, or a word is unknown and the
                vocabulary has no unknown word.
        """
        check_lines(lines)
        return score_lines(self.model, self.vocabulary, [self._tokenized(line) for line in lines], batch_size)

    @cached_property
    def decoder(self) -> Decoder:
        """An incremental decoder of the model."""
        return Decoder(self.model, self.vocabulary.context_id)

    # A string is also a sequence of strings, so the overloads overlap; the first one applies to strings.
    @overload
    def next_words(  # type: ignore[overload-overlap]
        self,
        text: str,
        k: int = 10,
        search: str = "exact",
        batch_size: int = 32,
        prefix: str = "",
        unknown: bool = False,
    ) -> Prediction: ...

    @overload
    def next_words(
        self,
        text: Sequence[str],
        k: int = 10,
        search: str = "exact",
        batch_size: int = 32,
        prefix: str = "",
        unknown: bool = False,
    ) -> list[Prediction]: ...

    def next_words(
        self,
        text: str | Sequence[str],
        k: int = 10,
        search: str = "exact",
        batch_size: int = 32,
        prefix: str = "",
        unknown: bool = False,
    ) -> Prediction | list[Prediction]:
        """The k most likely next words as (word, probability) pairs, most likely first.

        Args:
            text: One or several texts, which are split into words by :meth:`tokenize`.  Each is read from the start of
                a line.  Words outside the vocabulary are read as the unknown word.
            k: Number of words.
            search: ``exact`` finds the k most likely words of the vocabulary.  ``greedy`` searches only the most likely
                row, as in the paper (LightRNN, section 3.1), and misses more likely words in other rows.
            batch_size: Number of texts searched at a time.
            prefix: If given, only words that start with these letters, ignoring case.  Their probabilities are still
                those among all words.
            unknown: Whether the unknown word may be returned.  Probabilities do not depend on it: those of all other
                words sum to less than one.

        Returns:
            One :class:`Prediction` for a string, a list of them for a sequence.

        Raises:
            ValueError: If an argument is invalid.
        """
        if isinstance(text, str):
            return self.next_words([text], k, search, batch_size, prefix, unknown)[0]
        texts = [self._tokenized(one) for one in text]
        return next_words(self.decoder, self.vocabulary, texts, k, search, batch_size, prefix, unknown)

    def generate(
        self,
        prompt: str = "",
        num_words: int = 20,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        beams: int | None = None,
        seed: int = 0,
        samples: int = 1,
        stop: bool = True,
        unknown: bool = False,
    ) -> list[Continuation]:
        """Generate continuations of a text by sampling, or by beam search, most likely first.

        Args:
            prompt: The text to continue, split into words by :meth:`tokenize` and read from the start of a line.  Words
                outside the vocabulary are read as the unknown word.
            num_words: Maximum number of words of a continuation.
            temperature: Sample from P(w)^(1/temperature).  0 selects the most likely word each time; None means 1.
            top_k: Sample only from the k most likely words.
            top_p: Sample only from the smallest set of most likely words whose probabilities sum to this value
                (nucleus sampling).
            beams: Beam width.  If given, beam search replaces sampling.
            seed: Seed of the random generator.
            samples: Number of continuations to sample.
            stop: Whether the end marker ends a continuation.
            unknown: Whether the unknown word may be generated.

        Raises:
            ValueError: If an argument is invalid, or cannot be combined with ``beams``.
        """
        prompt = self._tokenized(prompt)
        if beams is None:
            sampling = Sampling(1.0 if temperature is None else temperature, top_k, top_p)
            return continue_text(
                self.decoder, self.vocabulary, prompt, num_words, sampling, seed, samples, stop, unknown
            )
        for name, value in (("temperature", temperature), ("top_k", top_k), ("top_p", top_p)):
            if value is not None:
                raise ValueError(f"{name}={value} applies to sampling, not to beam search; omit it or beams={beams}")
        if samples != 1:
            raise ValueError(f"beams={beams} already sets the number of continuations; omit samples={samples}")
        return beam_search(self.decoder, self.vocabulary, prompt, num_words, beams, stop, unknown)

    def word_vectors(self) -> Float[np.ndarray, "V P"]:
        """The output vector of each word, float32.  Words predicted in similar contexts have similar vectors."""
        return self.model.output.word_vectors().float().cpu().numpy()

    def save_vectors(self, path: str | Path) -> None:
        """Write :meth:`word_vectors` and their words to an .npz file, which ``allocation=vectors`` can read."""
        write_vectors(path, self.vocabulary.words, self.word_vectors())

    def save_table(self, path: str | Path) -> None:
        """Write the word table (word, row, column) to a .tsv, .csv or .parquet file for ``allocation=file``."""
        write_table(path, self.model.allocation, self.vocabulary.words)

    def content(self) -> dict[str, Any]:
        """All parts and their fingerprints, as plain Python types and tensors on the CPU."""
        state = {name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        return {
            "state": state,
            "weights": weights_fingerprint(state),
            "sides": list(self.model.allocation.sides),
            "table": self.model.allocation.fingerprint(),
            "vocabulary": self.vocabulary.state_dict(),
            "words": self.vocabulary.fingerprint(),
            "config": (config := as_plain(self.config)),
            "settings": settings_fingerprint(config),
            "protocol": self.protocol,
            "metrics": self.metrics,
        }

    def save(self, path: str | Path) -> None:
        """Write the bundle to ``path`` atomically."""
        content = {"format": FORMAT, "version": VERSION, **self.content()}
        with atomic_write(path) as file:
            torch.save(content, file)


def load(path: str | Path, device: str | torch.device = "cpu", tokenizer: str | None = None) -> Bundle:
    """Load a trained model and verify the fingerprints of its parts.

    Args:
        path: A bundle, a run folder (its ``best.ckpt`` is loaded), an exported model folder, or ``demo`` for the model
            that is part of the package.
        device: The device to load the model on.
        tokenizer: How texts are split into words: ``whitespace``, ``treebank`` or ``ptb``.  None for the tokenizer of
            the training text (``data.tokenizer``).

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged, is not a bundle, has an unsupported version, or contains an allocation or a
            vocabulary other than the one the weights were trained with, or the tokenizer is not available.
    """
    if tokenizer is not None:
        tokenizer_named(tokenizer)
    path = model_path(path)
    if is_model_folder(path):
        max_bytes = UNPACKED_RATIO * (path / WEIGHTS).stat().st_size
        content = parse_content(path, read_model_folder(path), max_bytes)
    else:
        path = bundle_file(path)
        content = _read(path)
    vocabulary = content.words_and_counts
    try:
        model = restore_model(content.config, content.allocation(), vocabulary, content.state)
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    config = as_config(content.config)
    tokenizer = tokenizer or content.tokenizer
    return Bundle(model.to(device).eval(), vocabulary, config, content.protocol, content.metrics, tokenizer)


def load_allocation(path: str | Path) -> tuple[Vocabulary, WordAllocation]:
    """The vocabulary and the allocation of a bundle, without the model.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged, is not a bundle, or has an unsupported version.
    """
    content = _read(Path(path))
    return content.words_and_counts, content.allocation()


def model_path(path: str | Path) -> Path:
    """The path of a model; the string ``demo`` means the model that is part of the package (``./demo`` does not)."""
    return _DEMO_FOLDER if path == DEMO else Path(path)


def resolve_checkpoint(checkpoint: str | None) -> Path:
    """The path given by a command's ``checkpoint=`` argument.

    Raises:
        ValueError: If the argument is empty.
    """
    if not checkpoint:
        raise ValueError(f"checkpoint={checkpoint} does not name a model; pass a best.ckpt, a run folder, or {DEMO}")
    return model_path(checkpoint)


def resolve_device(name: str) -> torch.device:
    """The device given by a command's ``device=`` argument.  ``auto`` selects a GPU if there is one.

    Raises:
        ValueError: If the device is not available on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # each backend raises its own exception
        raise ValueError(f"device={name} is not available on this machine; auto uses a GPU if there is one") from error
    return device


def weights_file(path: str | Path) -> Path:
    """The file with the weights of a model, given a bundle, a run folder, an exported model folder or ``demo``."""
    path = model_path(path)
    if is_model_folder(path):
        return path / WEIGHTS
    return bundle_file(path)


def _read(path: Path) -> BundleContent:
    if not path.is_file():
        if any(path.parent.glob("*.onnx")) or any(path.parent.glob("*.pte")):
            raise ValueError(
                f"{path.parent} is an ONNX or ExecuTorch export, which other programs read; pass the run folder that "
                "was exported"
            )
        raise FileNotFoundError(
            f"no checkpoint at {path}; pass a run folder, its best.ckpt, an exported folder (format=safetensors or "
            "int8), or demo"
        )
    content = read_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a lightrnn_pl bundle; pass the best.ckpt of a run folder (last.ckpt is only for resuming "
            "training)"
        )
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} is a bundle of version {content.get('version')!s:.20}, but this release reads version {VERSION}; "
            "use the release of lightrnn_pl that wrote it"
        )
    return parse_content(path, content, path.stat().st_size)
