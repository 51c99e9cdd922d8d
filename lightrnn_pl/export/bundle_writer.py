"""A bundle as a folder of open formats, read back before it counts as written."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.export.checks import require_same_bundle
from lightrnn_pl.model_folder import write_model_folder
from lightrnn_pl.packing import pack_state, unpack_state


def write_bundle(bundle: Bundle, folder: Path, eight_bits: bool = False) -> tuple[Bundle, float]:
    """Write a bundle's parts into a folder that is there, and read them back.

    Args:
        bundle: The model.
        folder: Where to.
        eight_bits: Whether weights are packed into 8 bits.

    Returns:
        The bundle that was read back, and the largest change of any weight.

    Raises:
        ValueError: If it is not the one that was written.
    """
    stored, recipe = pack_state(bundle.content()["state"], eight_bits)
    meant = bundle
    if eight_bits:
        # What is stored is another model, whose fingerprint travels with it.
        model = copy.deepcopy(bundle.model).cpu()
        model.load_state_dict(unpack_state(stored, recipe))
        meant = replace(bundle, model=model.eval())
    write_model_folder(folder, meant.content(), stored, recipe)
    again = load(folder)
    require_same_bundle(meant, again)
    after = again.model.state_dict()
    changes = [
        float((tensor.detach().cpu() - after[name]).abs().max())
        for name, tensor in bundle.model.state_dict().items()
        if tensor.is_floating_point() and tensor.numel()
    ]
    return again, max(changes, default=0.0)
