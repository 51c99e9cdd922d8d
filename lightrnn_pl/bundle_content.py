"""The content of a bundle: its schema, its limits, and the fingerprints of its parts.

:func:`parse_content` is the only place where content from a file is validated.  It checks the types of all parts, that
tensors and sizes are plausible, and the fingerprints.  The parts are trusted afterwards.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from torch import Tensor

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.vocabulary import Vocabulary

CODES = "embedding.allocation.codes"
"""The tensor with the word allocation."""

_MAX_DEPTH = 32
"""Nested mappings and lists of a configuration."""

_MAX_COPIES = 4
"""Names under which a tensor may be stored: for example, the codes are part of the embedding and of the output."""

_MIN_CELLS = 2**24
"""Tables of up to this number of cells are always allowed; larger ones need as many stored values."""

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)

Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True, frozen=True)


class VocabularyContent(_Strict):
    """The result of ``Vocabulary.state_dict()``."""

    words: list[str]
    counts: list[Count]
    unknown: str | None
    begin: str | None
    end: str | None


class ModelSettings(_Strict):
    """The part of the configuration that describes the model."""

    embedding: dict[str, JsonValue]
    core: dict[str, JsonValue]
    output: dict[str, JsonValue]
    loss: dict[str, JsonValue]
    tied: bool
    input_dropout: float
    output_dropout: float
    locked_dropout: bool = False
    word_dropout: float = 0.0


class DataSettings(_Strict):
    """The part of the configuration that describes how text is read."""

    tokenizer: Literal["whitespace", "treebank", "ptb"] = "whitespace"


class RunSettings(_Strict):
    """The configuration of a run, as far as loading depends on it."""

    model: ModelSettings
    data: DataSettings | None = None


class BundleContent(_Strict):
    """The content of a bundle.

    Attributes:
        state: The weights, the allocation and other tensors of the model.
        weights: Fingerprint of ``state``, without the allocation.
        sides: The sides of the allocation.
        table: Fingerprint of the allocation.
        vocabulary: The words, their counts and the markers.
        words: Fingerprint of the vocabulary.
        config: The resolved configuration of the run.
        protocol: How text was read.
        metrics: Metrics at the time of saving.
        settings: Fingerprint of ``config``; None in bundles written before it was added.
    """

    state: dict[str, Tensor]
    weights: str
    sides: Annotated[list[Annotated[int, Field(ge=1, lt=2**31)]], Field(min_length=1, max_length=8)]
    table: str
    vocabulary: VocabularyContent
    words: str
    config: dict[str, JsonValue]
    protocol: dict[str, JsonValue]
    metrics: dict[str, JsonValue]
    settings: str | None = None

    def allocation(self) -> WordAllocation:
        """The allocation of the words."""
        return WordAllocation(self.state[CODES], tuple(self.sides))

    @property
    def tokenizer(self) -> str:
        """The tokenizer of the training text."""
        data = RunSettings.model_validate(self.config).data
        return DataSettings().tokenizer if data is None else data.tokenizer

    @cached_property
    def words_and_counts(self) -> Vocabulary:
        """The vocabulary, which takes long to build if it is large."""
        return Vocabulary.from_state_dict(self.vocabulary.model_dump())


def parse_content(path: str | Path, content: Mapping[str, Any], max_bytes: int) -> BundleContent:
    """Validate the content of a bundle or an exported folder.

    Args:
        path: The file, for messages.
        content: What was read from it.
        max_bytes: Maximum size of a tensor and, times a small factor for tensors with several names, of all tensors.

    Raises:
        ValueError: If a part is missing, has the wrong type or an implausible size, is not finite, or does not match
            its fingerprint.  The message is one line.
    """
    try:
        _check_containers({key: value for key, value in content.items() if key not in ("state", "vocabulary")})
        parsed = BundleContent.model_validate(content)
        RunSettings.model_validate(parsed.config)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"{path} is damaged or not a bundle: {key[:80]}: {first['msg']}; use the original file"
        ) from None
    except _InvalidContent as error:
        raise ValueError(
            f"{path} is damaged or not a bundle: {error}; use the original file written by the run"
        ) from None
    _check_state(path, parsed.state, max_bytes)
    _check_allocation(path, parsed)
    _check_fingerprints(path, parsed)
    return parsed


def weights_fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of all tensors except the allocation, which has its own fingerprint."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if not name.endswith("allocation.codes"):
            digest.update(name.encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def settings_fingerprint(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration; the order of its keys does not matter."""
    # Converted to JSON and back, so that a configuration that was stored as JSON has the same fingerprint.
    plain = json.loads(json.dumps(config))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


class _InvalidContent(ValueError):
    pass


def _check_containers(content: Mapping[str, Any]) -> None:
    """Check that containers are neither nested too deeply nor contained several times, and have no interpolations.

    A few kilobytes can describe a structure that is infinite, or too large to be copied.
    """
    seen: set[int] = set()
    for level in _levels(content):
        for value in level:
            if isinstance(value, dict | list | tuple):
                if id(value) in seen and value:
                    raise _InvalidContent("a mapping or list is contained several times")
                seen.add(id(value))
            elif isinstance(value, str) and ("${" in value or value == "???"):
                raise _InvalidContent(f"the configuration is not resolved: {value[:80]!r}")


def _levels(content: Mapping[str, Any]) -> Iterator[list[Any]]:
    level: list[Any] = [content]
    for _ in range(_MAX_DEPTH):
        yield level
        level = [
            part
            for value in level
            if isinstance(value, dict | list | tuple)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise _InvalidContent(f"mappings and lists are nested more than {_MAX_DEPTH} levels deep")


def _check_state(path: str | Path, state: Mapping[str, Tensor], max_bytes: int) -> None:
    total = 0
    for name, tensor in state.items():
        if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{path} is damaged or not a bundle: {name} is not an ordinary tensor")
        if tensor.dtype not in _FLOATS + _INTEGERS or tensor.ndim == 0:
            raise ValueError(
                f"{path} is damaged or not a bundle: {name} has the type {tensor.dtype} and {tensor.ndim} dimensions"
            )
        size = tensor.numel() * tensor.element_size()
        total += size
        # A view with overlapping elements can be larger than the file.
        if size > tensor.untyped_storage().nbytes() or total > _MAX_COPIES * max_bytes:
            raise ValueError(f"{path} is damaged or not a bundle: {name} is larger than the file")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(
                f"{path} cannot be used: {name} contains NaN or infinite weights; use a checkpoint from before "
                "training diverged, or train again with a lower learning rate"
            )


def _check_allocation(path: str | Path, content: BundleContent) -> None:
    codes = content.state.get(CODES)
    num_words = len(content.vocabulary.words)
    if codes is None or codes.is_floating_point() or codes.shape != (num_words, len(content.sides)) or not num_words:
        shape = "missing" if codes is None else f"{codes.dtype} of shape {list(codes.shape)}"
        raise ValueError(
            f"{path} contains a different vocabulary than the one its weights were trained with: {num_words} words, "
            f"{len(content.sides)} codes each, and {CODES} {shape}; use the original file written by the run"
        )
    stored = sum(tensor.numel() for tensor in content.state.values())
    if math.prod(content.sides) > max(_MIN_CELLS, stored):
        raise ValueError(f"{path} is damaged or not a bundle: sides={content.sides} are larger than the stored model")


def _check_fingerprints(path: str | Path, content: BundleContent) -> None:
    if weights_fingerprint(content.state) != content.weights:
        raise ValueError(f"{path} is damaged: its weights differ from those that were saved; restore it from a copy")
    try:
        table, words = content.allocation().fingerprint(), content.words_and_counts.fingerprint()
    except ValueError as error:
        raise ValueError(f"{path} is damaged or not a bundle: {error}") from None
    if table != content.table:
        raise ValueError(
            f"{path} contains the allocation {table[:12]}, but its weights were trained with {content.table[:12]}; "
            "use the original file written by the run"
        )
    if words != content.words:
        raise ValueError(
            f"{path} contains a different vocabulary than the one its weights were trained with; "
            "use the original file written by the run"
        )
    if content.settings is not None and settings_fingerprint(content.config) != content.settings:
        raise ValueError(
            f"{path} contains another configuration than the one its weights were trained with; "
            "use the original file written by the run"
        )
