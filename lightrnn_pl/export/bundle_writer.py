"""Writes a bundle as a folder of open formats, and verifies it by loading it again."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.export.checks import require_same_bundle
from lightrnn_pl.model_folder import write_model_folder
from lightrnn_pl.packing import pack_state, unpack_state


def write_bundle(bundle: Bundle, folder: Path, eight_bits: bool = False) -> tuple[Bundle, float]:
    """Write a bundle into an existing folder, and load it again.

    Args:
        bundle: The model.
        folder: The folder to write to.
        eight_bits: Whether to quantize the weights to 8 bits.

    Returns:
        The loaded bundle, and the largest change of any weight.

    Raises:
        ValueError: If the loaded bundle differs from the one that was written.
    """
    stored, recipe = pack_state(bundle.content()["state"], eight_bits)
    written = bundle
    if eight_bits:
        # The quantized model differs from the bundle, so its own fingerprint is stored.
        model = copy.deepcopy(bundle.model).cpu()
        model.load_state_dict(unpack_state(stored, recipe))
        written = replace(bundle, model=model.eval())
    write_model_folder(folder, written.content(), stored, recipe)
    loaded = load(folder)
    require_same_bundle(written, loaded)
    after = loaded.model.state_dict()
    changes = [
        float((tensor.detach().cpu() - after[name]).abs().max())
        for name, tensor in bundle.model.state_dict().items()
        if tensor.is_floating_point() and tensor.numel()
    ]
    return loaded, max(changes, default=0.0)
