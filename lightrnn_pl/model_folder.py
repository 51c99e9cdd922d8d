"""The exported model folder: the parts of a bundle in open formats, for use by other programs.

    model.safetensors   weights, allocation and sub-vector maps
    config.json         configuration, protocol, metrics, fingerprints, and the keys required by ``transformers``
    vocabulary.txt.gz   one line ``word<TAB>count`` per word; not compressed in folders of version 1

``checkpoint.load`` reads such a folder and verifies its fingerprints like those of a bundle.  Weights may be packed
in 8 bits (``packing``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch as safetensors
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from lightrnn_pl.checks import one_line
from lightrnn_pl.files import atomic_write, file_hash, write_json
from lightrnn_pl.packing import Recipe, unpack_state
from lightrnn_pl.vocabulary import Vocabulary

FORMAT = "lightrnn_pl folder"
VERSION = 2
WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.txt.gz"
VOCABULARIES = {1: "vocabulary.txt", VERSION: VOCABULARY}
"""The file with the words, by the version of the folder."""
MODEL_TYPE = "lightrnn"
_BUNDLE_KEY = "lightrnn_pl"
"""The key of config.json that contains the parts of the bundle."""
_PARTS = ("weights", "sides", "table", "words", "config", "settings", "protocol", "metrics")


def is_model_folder(path: Path) -> bool:
    """Whether ``path`` is a folder written by ``write_model_folder``."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def write_model_folder(folder: Path, content: Mapping[str, Any], stored: Mapping[str, Tensor], recipe: Recipe) -> None:
    """Write the three files.  Other files in the folder are not changed.

    Args:
        folder: An existing folder.
        content: The result of ``Bundle.content()``.
        stored: The tensors to write: the state of ``content`` packed by ``packing.pack_state``.
        recipe: How to unpack them.
    """
    vocabulary = Vocabulary.from_state_dict(content["vocabulary"])
    # safetensors.save_file would create a file that only its owner can read.
    with atomic_write(folder / WEIGHTS) as file:
        file.write(safetensors.save(dict(stored), metadata={"format": "pt"}))
    parts = {"packed": recipe, "file": file_hash(folder / WEIGHTS), **{part: content[part] for part in _PARTS}}
    description = {
        "model_type": MODEL_TYPE,
        "architectures": ["LightRNNForCausalLM"],
        "vocab_size": len(vocabulary),
        "bos_token_id": vocabulary.context_id,
        "eos_token_id": vocabulary.end_id,
        _BUNDLE_KEY: {"format": FORMAT, "version": VERSION, **parts},
    }
    write_json(folder / CONFIG, description)
    vocabulary.save(folder / VOCABULARY)


def read_model_folder(folder: Path) -> dict[str, Any]:
    """The content of a bundle, as returned by ``Bundle.content()``.  The fingerprints of its parts are not verified.

    Raises:
        ValueError: If a file is missing or damaged, or the folder has an unsupported version.
    """
    metadata = _read_metadata(folder)
    if file_hash(folder / WEIGHTS) != metadata.file:
        raise ValueError(f"{folder / WEIGHTS} is damaged: it differs from the exported file; restore it from a copy")
    try:
        state = unpack_state(safetensors.load_file(folder / WEIGHTS), metadata.packed)
    except Exception as error:  # safetensors may raise any exception on arbitrary bytes
        raise ValueError(f"{folder / WEIGHTS} is damaged: {one_line(error)}; restore it from a copy") from error
    name = VOCABULARIES[metadata.version]
    try:
        vocabulary = Vocabulary.load(folder / name)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} has no {name}; export the model again") from error
    parts = metadata.model_extra or {}
    return {
        "state": state,
        "vocabulary": vocabulary.state_dict(),
        **{part: parts[part] for part in _PARTS if part in parts},
    }


class _Metadata(BaseModel):
    """The entry of config.json that describes the bundle; the parts of the bundle are validated with its content."""

    model_config = ConfigDict(strict=True, extra="allow")
    version: int
    file: str
    packed: Recipe


def _read_metadata(folder: Path) -> _Metadata:
    path = folder / CONFIG
    damaged = f"{path} is damaged or was not written by lightrnn_pl; export the model again"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(damaged) from error
    metadata = description.get(_BUNDLE_KEY) if isinstance(description, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(damaged)
    if metadata.get("version") not in list(VOCABULARIES):
        raise ValueError(
            f"{folder} is a model folder of version {metadata.get('version')!s:.20}, but this release reads versions "
            f"up to {VERSION}; use the release of lightrnn_pl that wrote it"
        )
    try:
        return _Metadata.model_validate(metadata)
    except ValidationError as error:
        raise ValueError(damaged) from error
