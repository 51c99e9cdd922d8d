"""The data module that evaluates a trained model on another text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightrnn_pl.building import instantiate
from lightrnn_pl.checkpoint import Bundle


def datamodule_for_text(bundle: Bundle, text: str | Path, **options: Any) -> Any:
    """A data module whose test split is ``text``, read as in training.

    Args:
        bundle: The trained model.
        text: A text file, or a pattern that matches several.
        options: Arguments of the data module that differ from training, such as ``eval_batch_size``.
    """
    training_options = {}
    if "data" in bundle.config:
        keys = ("batching", "sequence_length", "eval_batch_size")
        training_options = {key: bundle.config.data[key] for key in keys}
    target = {"_target_": "lightrnn_pl.data.datamodule.CorpusDataModule.from_text"}
    source = {"train": None, "test": str(text), "name": Path(text).name}
    return instantiate({**target, **source, **training_options, **options})
