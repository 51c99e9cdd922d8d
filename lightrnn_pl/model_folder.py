"""A trained model as a folder of open formats: the parts of a bundle, for programs that are not this one.

    model.safetensors   weights, word table and maps of shared vectors
    config.json         configuration, protocol, metrics and fingerprints; the keys that ``transformers`` looks for
    vocabulary.txt      a line ``word<TAB>count`` a word

``checkpoint.load`` reads it and checks the fingerprints as those of a bundle.  Weights may be packed (``packing``).
Knows the parts and their files; nothing of networks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lightrnn_pl.files import atomic_write, file_hash, write_json
from lightrnn_pl.packing import Recipe, unpack_state
from lightrnn_pl.vocabulary import Vocabulary

FORMAT = "lightrnn_pl folder"
VERSION = 1
WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocabulary.txt"
MODEL_TYPE = "lightrnn"
_OWN = "lightrnn_pl"
"""The key of config.json that holds what is ours."""
_PARTS = ("weights", "sides", "table", "words", "config", "protocol", "metrics")


def is_model_folder(path: Path) -> bool:
    """Whether ``path`` is a folder that ``write_model_folder`` wrote."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def write_model_folder(folder: Path, content: Mapping[str, Any], stored: Mapping[str, Tensor], recipe: Recipe) -> None:
    """Write the three files; nothing else in the folder is touched.

    Args:
        folder: Is there already.
        content: ``Bundle.content()``.
        stored: The tensors to write, from ``packing.pack_state`` of the content's state.
        recipe: How the state comes back from them.

    Raises:
        ValueError: If safetensors is not installed.
    """
    vocabulary = Vocabulary.from_state_dict(content["vocabulary"])
    # Not by its save_file, which lets nobody but the owner read the file.
    with atomic_write(folder / WEIGHTS) as file:
        file.write(_safetensors().save(dict(stored), metadata={"format": "pt"}))
    parts = {"packed": recipe, "file": file_hash(folder / WEIGHTS), **{part: content[part] for part in _PARTS}}
    description = {
        "model_type": MODEL_TYPE,
        "architectures": ["LightRNNForCausalLM"],
        "vocab_size": len(vocabulary),
        "bos_token_id": vocabulary.context_id,
        "eos_token_id": vocabulary.end_id,
        _OWN: {"format": FORMAT, "version": VERSION, **parts},
    }
    write_json(folder / CONFIG, description)
    vocabulary.save(folder / VOCABULARY)


def read_model_folder(folder: Path) -> dict[str, Any]:
    """The content of a bundle, as ``Bundle.content()`` has it; its parts are not compared with each other here.

    Raises:
        ValueError: If a file is missing or damaged, of another version, or safetensors is not installed.
    """
    try:
        own = json.loads((folder / CONFIG).read_text(encoding="utf-8"))[_OWN]
        assert own["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{folder / CONFIG} is damaged or not of lightrnn_pl; export the model anew") from error
    if own.get("version") != VERSION:
        raise ValueError(
            f"{folder} is a model folder of version {own.get('version')}, this is the code for version {VERSION}; "
            "use the release of lightrnn_pl that wrote it"
        )
    safetensors = _safetensors()
    if file_hash(folder / WEIGHTS) != own["file"]:
        raise ValueError(
            f"{folder / WEIGHTS} is damaged: it is not the file that was exported; take another copy of it"
        )
    try:
        state = unpack_state(safetensors.load_file(folder / WEIGHTS), own["packed"])
    except Exception as error:  # the reader of bytes that are no tensors may fail in any way
        raise ValueError(f"{folder / WEIGHTS} is damaged: {error}; take another copy of it") from error
    try:
        vocabulary = Vocabulary.load(folder / VOCABULARY)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} has no {VOCABULARY}, without which its weights mean nothing") from error
    return {"state": state, "vocabulary": vocabulary.state_dict(), **{part: own[part] for part in _PARTS}}


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{WEIGHTS} needs the package safetensors: pip install 'lightrnn_pl[export]' (or safetensors)"
        ) from error
    return safetensors.torch
