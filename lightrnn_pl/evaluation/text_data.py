"""The data modules that evaluate a trained model: on its own corpus, or on another text.

The configuration of a bundle may come from an untrusted source, so its corpus is built like its model: from a closed
set of classes (``stored_model``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightrnn_pl.building import as_plain
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.checks import one_line
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.stored_model import class_at, constructor_of
from lightrnn_pl.vocabulary import VocabularyRules

_READING_OPTIONS = ("batching", "sequence_length", "eval_batch_size")


def datamodule_for_text(bundle: Bundle, text: str | Path, split: str = "test", **options: Any) -> CorpusDataModule:
    """A data module with one split, ``text``, read as in training.

    Args:
        bundle: The trained model.
        text: A text file, or a pattern that matches several.
        split: The name of the split, ``valid`` or ``test``.
        options: Arguments of the data module that differ from training, such as ``eval_batch_size``.
    """
    data = own_data(bundle) or {}
    training_options = {key: data[key] for key in _READING_OPTIONS if key in data}
    source = {"train": None, split: str(text), "name": Path(text).name, "tokenizer": bundle.tokenizer}
    return CorpusDataModule.from_text(**{**source, **training_options, **options})


def own_data(bundle: Bundle) -> dict[str, Any] | None:
    """The configuration of the corpus that the model was trained on; None if it is not known."""
    return as_plain(bundle.config).get("data")


def own_datamodule(bundle: Bundle, **options: Any) -> CorpusDataModule:
    """The corpus that the model was trained on.

    Args:
        bundle: The trained model.
        options: Arguments of the data module that differ from training, such as ``eval_batch_size``.

    Raises:
        ValueError: If the configuration of the model does not contain a valid corpus.
    """
    data = {**(own_data(bundle) or {}), **options}
    path, _, method = str(data.pop("_target_", "")).rpartition(".")
    source = class_at(path, CorpusDataModule, "data")
    if not (method.startswith("from_") and isinstance(vars(source).get(method), classmethod)):
        raise ValueError(f"data._target_: {method[:80]} is not a corpus of {path}")
    rules = constructor_of(data.pop("vocabulary", None), VocabularyRules, "data.vocabulary")()
    try:
        return getattr(source, method)(vocabulary=rules, **data)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"the corpus in the configuration of the model cannot be set up: {one_line(error)}") from error
