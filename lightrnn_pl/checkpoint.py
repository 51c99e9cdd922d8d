"""The bundle: one file that holds all a trained model needs, and that refuses what does not belong together.

Weights, word table, vocabulary, configuration, reading protocol and their fingerprints, written atomically and read
back with ``weights_only=True``.  It is what people keep; the file a run resumes from is Lightning's own.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
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
from lightrnn_pl.building import as_config, as_plain, build_model
from lightrnn_pl.files import atomic_write
from lightrnn_pl.inference.decoding import Decoder
from lightrnn_pl.inference.generation import Continuation, Sampling, beam_search, continue_text
from lightrnn_pl.inference.prediction import Prediction, next_words
from lightrnn_pl.inference.scoring import score_lines
from lightrnn_pl.model_folder import WEIGHTS, is_model_folder, read_model_folder
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.run_folder import bundle_file
from lightrnn_pl.vocabulary import Vocabulary

FORMAT = "lightrnn_pl bundle"
VERSION = 1


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything needed to use it.

    Attributes:
        model: In evaluation mode.
        vocabulary: Words and their ids.
        config: The resolved configuration of the run.
        protocol: How the text was read: markers, unknown words, batching.
        metrics: What was known of the model when it was saved.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    config: DictConfig
    protocol: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)

    def score(self, lines: Sequence[str], batch_size: int = 32) -> list[list[float]]:
        """Natural-log probability of each word of each line, the end marker last where the protocol has one.

        Every line is read from a fresh state; words outside the vocabulary count as its unknown word.

        Args:
            lines: Tokenised text, words separated by whitespace.
            batch_size: Lines scored at a time.
        """
        return score_lines(self.model, self.vocabulary, lines, batch_size)

    @cached_property
    def decoder(self) -> Decoder:
        """Reads word by word, and answers what comes next."""
        return Decoder(self.model, self.vocabulary.context_id)

    # A string is a sequence of strings too, so the type checker sees two answers for it; the first is meant.
    @overload
    def next_words(  # type: ignore[overload-overlap]
        self, text: str, k: int = 10, search: str = "exact", batch_size: int = 32
    ) -> Prediction: ...

    @overload
    def next_words(
        self, text: Sequence[str], k: int = 10, search: str = "exact", batch_size: int = 32
    ) -> list[Prediction]: ...

    def next_words(
        self, text: str | Sequence[str], k: int = 10, search: str = "exact", batch_size: int = 32
    ) -> Prediction | list[Prediction]:
        """The k most likely next words as (word, probability) pairs, best first, and how many rows that took.

        Args:
            text: One text or several, tokenised, words separated by whitespace; each is read from the start of a line.
                Unknown words are read as the unknown word.
            k: How many words.
            search: ``exact``: the proven most likely ones.  ``greedy``: those of the most likely row only, the paper's
                way (LightRNN, section 3.1), which misses likelier words of other rows.
            batch_size: Texts searched at a time.

        Raises:
            ValueError: If an argument is none of these.
        """
        if isinstance(text, str):
            return next_words(self.decoder, self.vocabulary, [text], k, search)[0]
        return next_words(self.decoder, self.vocabulary, text, k, search, batch_size)

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
        """Continuations of a text: ``samples`` drawn ones, or those of a beam search, best first.

        Args:
            prompt: Tokenised, words separated by whitespace; read from the start of a line, unknown words as the
                unknown word.
            num_words: The most words of a continuation.
            temperature: Above 1 flatter, below 1 sharper than the model; 0 the most likely word each time; None is 1.
            top_k: Draw from this many most likely words only.
            top_p: Draw from the fewest most likely words that hold this share of the probability only.
            beams: Search for the likeliest continuations instead of drawing, with this many at a time.
            seed: Of what is drawn.
            samples: How many are drawn.
            stop: Whether the end marker ends a continuation.
            unknown: Whether the unknown word may be written.

        Raises:
            ValueError: If an argument is none of these, or does not go with ``beams``.
        """
        if beams is None:
            sampling = Sampling(1.0 if temperature is None else temperature, top_k, top_p)
            return continue_text(
                self.decoder, self.vocabulary, prompt, num_words, sampling, seed, samples, stop, unknown
            )
        for name, value in (("temperature", temperature), ("top_k", top_k), ("top_p", top_p)):
            if value is not None:
                raise ValueError(f"{name}={value} is for drawing words, and beams={beams} draws none; leave one out")
        if samples != 1:
            raise ValueError(f"beams={beams} give as many continuations; leave samples={samples} out")
        return beam_search(self.decoder, self.vocabulary, prompt, num_words, beams, stop, unknown)

    def word_vectors(self) -> Float[np.ndarray, "V P"]:
        """What the output layer predicts each word by, float32; words that are predicted alike lie near one another."""
        return self.model.output.word_vectors().float().cpu().numpy()

    def save_vectors(self, path: str | Path) -> None:
        """Write :meth:`word_vectors` with their words as .npz; ``allocation=vectors`` reads it."""
        write_vectors(path, self.vocabulary.words, self.word_vectors())

    def save_table(self, path: str | Path) -> None:
        """Write the word table as word, row, column (.tsv, .csv or .parquet); ``allocation=file`` reads it back."""
        write_table(path, self.model.allocation, self.vocabulary.words)

    def content(self) -> dict[str, Any]:
        """All parts and their fingerprints, as plain types and tensors on the CPU."""
        state = {name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        return {
            "state": state,
            "weights": _weights_fingerprint(state),
            "sides": list(self.model.allocation.sides),
            "table": self.model.allocation.fingerprint(),
            "vocabulary": self.vocabulary.state_dict(),
            "words": self.vocabulary.fingerprint(),
            "config": as_plain(self.config),
            "protocol": self.protocol,
            "metrics": self.metrics,
        }

    def save(self, path: str | Path) -> None:
        """Write the bundle to ``path``; a reader sees the old file or the new one, never a part."""
        content = {"format": FORMAT, "version": VERSION, **self.content()}
        with atomic_write(path) as file:
            torch.save(content, file)


def load(path: str | Path, device: str | torch.device = "cpu") -> Bundle:
    """Read a bundle, the ``best.ckpt`` of a run folder, or an exported folder; check that its parts belong together.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, of another version, no bundle, or holds another word table or vocabulary
            than the one its weights were trained with.
    """
    path = Path(path)
    if is_model_folder(path):
        content: Mapping[str, Any] = read_model_folder(path)
    else:
        path = bundle_file(path)
        content = _read(path)
    vocabulary = Vocabulary.from_state_dict(content["vocabulary"])
    codes = content["state"]["embedding.allocation.codes"]
    _check_parts(path, content, vocabulary, codes)
    config = as_config(content["config"])
    model = build_model(config, WordAllocation(codes, tuple(content["sides"])), vocabulary, initialise=False)
    try:
        model.load_state_dict(content["state"])
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit the model that its own configuration describes") from error
    return Bundle(model.to(device).eval(), vocabulary, config, content["protocol"], content["metrics"])


def table_of(path: str | Path) -> tuple[Vocabulary, WordAllocation]:
    """The words of a bundle and where they are, without the model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, of another version or no bundle.
    """
    content = _read(Path(path))
    vocabulary = Vocabulary.from_state_dict(content["vocabulary"])
    return vocabulary, WordAllocation(content["state"]["embedding.allocation.codes"], tuple(content["sides"]))


def named_checkpoint(checkpoint: str | None) -> Path:
    """Where the ``checkpoint=`` of a command points.

    Raises:
        ValueError: If it is empty.
    """
    if not checkpoint:
        raise ValueError(f"checkpoint={checkpoint} does not name a model; pass a best.ckpt or a run folder")
    return Path(checkpoint)


def named_device(name: str) -> torch.device:
    """The ``device=`` of a command; ``auto`` is a GPU where there is one.

    Raises:
        ValueError: If there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # each kind of device is missing in a way of its own
        raise ValueError(f"device={name} is not available on this machine; auto uses a GPU if there is one") from error
    return device


def weights_file(path: str | Path) -> Path:
    """The file that holds a model's weights: the bundle itself, a run folder's, or an exported folder's."""
    path = Path(path)
    if is_model_folder(path):
        return path / WEIGHTS
    return bundle_file(path)


def _weights_fingerprint(state: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if not name.endswith("allocation.codes"):  # the table has a fingerprint of its own
            digest.update(name.encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; give the best.ckpt of a run folder, or the folder")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged or no checkpoint; give the best.ckpt of a run folder")
    try:
        with zipfile.ZipFile(path) as parts:
            if (broken := parts.testzip()) is not None:
                raise ValueError(f"the checksum of {broken} does not match")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint make the reader fail in any way at all
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} is damaged or no checkpoint: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a bundle of lightrnn_pl; give the best.ckpt of a run folder (last.ckpt is only what a run "
            "resumes from)"
        )
    if content["version"] != VERSION:
        raise ValueError(
            f"{path} is a bundle of version {content['version']}, this is the code for version {VERSION}; "
            "use the release of lightrnn_pl that wrote it"
        )
    return content


def _check_parts(path: Path, content: Mapping[str, Any], vocabulary: Vocabulary, codes: torch.Tensor) -> None:
    if _weights_fingerprint(content["state"]) != content["weights"]:
        raise ValueError(f"{path} is damaged: its weights are not the ones that were saved; take another copy of it")
    table = WordAllocation(codes, tuple(content["sides"])).fingerprint()
    if table != content["table"]:
        raise ValueError(
            f"{path} holds the word table {table[:12]}, but its weights were trained with {content['table'][:12]}: "
            "with another table they mean nothing; take the file as the run wrote it"
        )
    if vocabulary.fingerprint() != content["words"] or len(vocabulary) != len(codes):
        raise ValueError(
            f"{path} holds another vocabulary than the one its weights were trained with; "
            "take the file as the run wrote it"
        )
