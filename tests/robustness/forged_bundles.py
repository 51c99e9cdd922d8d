"""Bundles whose content was changed by an attacker, who recomputes all fingerprints."""

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.bundle_content import CODES, settings_fingerprint, weights_fingerprint
from lightrnn_pl.checkpoint import FORMAT, VERSION, Bundle
from lightrnn_pl.files import file_hash
from lightrnn_pl.vocabulary import Vocabulary

Change = Callable[[dict[str, Any]], object]


def content_of(bundle: Bundle) -> dict[str, Any]:
    """The content of the file of a bundle, as a copy that can be modified."""
    return copy.deepcopy({"format": FORMAT, "version": VERSION, **bundle.content()})


def with_fingerprints(content: dict[str, Any]) -> dict[str, Any]:
    """The content with its fingerprints computed again, if they exist and the content allows it."""
    computed = {
        "weights": lambda: weights_fingerprint(content["state"]),
        "settings": lambda: settings_fingerprint(content["config"]),
        "table": lambda: WordAllocation(content["state"][CODES], tuple(content["sides"])).fingerprint(),
        "words": lambda: Vocabulary.from_state_dict(content["vocabulary"]).fingerprint(),
    }
    for name, compute in computed.items():
        if name not in content:
            continue
        try:
            content[name] = compute()
        except Exception:  # the content is invalid in many ways
            continue
    return content


def forge(bundle: Bundle, path: Path, change: Change) -> Path:
    """Write a bundle with changed content and matching fingerprints."""
    content = content_of(bundle)
    change(content)
    torch.save(with_fingerprints(content), path)
    return path


def forge_folder(folder: Path, change: Change) -> Path:
    """Change the metadata of an exported folder, with matching fingerprints."""
    path = folder / "config.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    content = description["lightrnn_pl"]
    change(content)
    content["file"] = file_hash(folder / "model.safetensors")
    with contextlib.suppress(Exception):
        content["settings"] = settings_fingerprint(content["config"])
    path.write_text(json.dumps(description), encoding="utf-8")
    return folder
