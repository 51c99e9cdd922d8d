"""Adds the words of a new text to a trained model before it is fine-tuned (``init_from_new_words``).

Models with a vector for each word: see :mod:`~lightrnn_pl.inference.new_word_vectors`.

LightRNN: the cells of new words are chosen by loss statistics of the training text, as in ``lightrnn-table grow=...``
(:mod:`~lightrnn_pl.inference.vocabulary_growth`).  If there are fewer usable empty cells than new words, the table gets
more columns, whose vectors are trained from the mean of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from lightrnn_pl.allocation.new_word_cells import cells_of_new_columns, usable_cells
from lightrnn_pl.building import instantiate
from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.checks import check_count
from lightrnn_pl.data.batches import Batch, Loader
from lightrnn_pl.data.corpus import count_words
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.inference.new_word_vectors import add_word_vectors, check_own_vectors
from lightrnn_pl.inference.vocabulary_growth import (
    check_shared_vectors,
    extended_vocabulary,
    grow_model,
    rank_new_words,
    widen_model,
)
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import LinearCodeOutput
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.progress import with_batch_log
from lightrnn_pl.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def check_new_words(config: DictConfig) -> None:
    """Check ``init_from_new_words``.

    Raises:
        ValueError: If it is invalid, or there is no model to which words could be added.
    """
    min_count = config.get("init_from_new_words")
    if min_count is None:
        return
    check_count("init_from_new_words", min_count)
    if config.get("init_from") is None:
        raise ValueError(
            f"init_from_new_words={min_count} adds words to the model in init_from, which is not set; set it, "
            "or omit this"
        )


def with_new_words(config: DictConfig, initial: Bundle, folder: RunFolder) -> Bundle:
    """The model to start from: ``initial``, with the new words of the training text if ``init_from_new_words`` is set.

    A run that is resumed reads it from its folder, where :func:`save_model` has stored it.

    Args:
        config: The configuration of the run, before it has the settings of ``initial``.
        initial: The trained model.
        folder: The run folder.

    Raises:
        ValueError: If the model cannot have more words, or no new word is frequent enough.
    """
    if config.get("init_from_new_words") is None:
        return initial
    has_shared_vectors = isinstance(initial.model.output, LinearCodeOutput)
    (check_shared_vectors if has_shared_vectors else check_own_vectors)(initial.model, initial.vocabulary)
    if config.resume and folder.config.is_file() and folder.initial_model.is_file():
        return load(folder.initial_model)
    datamodule: CorpusDataModule = instantiate(config.data)
    counts = count_words(datamodule.corpus, "train")
    ranked = rank_new_words(counts, initial.vocabulary, config.init_from_new_words, "init_from_new_words")
    vocabulary = extended_vocabulary(initial.vocabulary, dict(ranked))
    on_gpu = torch.cuda.is_available() and config.trainer.get("accelerator", "auto") != "cpu"
    model, settings = initial.model.to("cuda" if on_gpu else "cpu"), initial.config
    batches = _LoggedBatches(datamodule.loader_for(vocabulary, "train"))
    if has_shared_vectors:
        grown = _with_cells(model, settings, initial.vocabulary, vocabulary, batches)
    else:
        grown, settings = add_word_vectors(model, settings, vocabulary, counts, batches)
    initial.model.cpu()
    log.info("added %d new words that occur at least %d times", len(ranked), config.init_from_new_words)
    if grown.allocation.num_components > 1:
        log.info("sides of the table: %s before, %s now", list(model.allocation.sides), list(grown.allocation.sides))
    return replace(initial, model=grown.cpu(), vocabulary=vocabulary, config=settings)


def _with_cells(
    model: LanguageModel, config: DictConfig, old: Vocabulary, vocabulary: Vocabulary, batches: Iterable[Batch]
) -> LanguageModel:
    """A LightRNN with the new words in empty cells, and in more columns if there are too few of them."""
    free, num_new = usable_cells(model.allocation), len(vocabulary) - len(old)
    if num_new > free.sum():
        new_cells = cells_of_new_columns(model.allocation, num_new - int(free.sum()))
        free = np.concatenate([free, new_cells], -1)
        model = widen_model(model, config, old, new_cells.shape[-1])
    return grow_model(model, config, vocabulary, batches, free=free)


class _LoggedBatches:
    """Batches whose progress is logged whenever they are iterated."""

    def __init__(self, batches: Loader) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return with_batch_log(self._batches, "Loss statistics of the new words")


def save_model(start: Bundle, folder: RunFolder) -> None:
    """Write the extended model to the run folder."""
    start.save(folder.initial_model)


def describe_new_words(config: DictConfig, initial: Bundle, start: Bundle) -> dict[str, Any]:
    """The number of new words and the sides of both tables, for the report of the run."""
    return {
        "min_count": config.init_from_new_words,
        "words": len(start.vocabulary) - len(initial.vocabulary),
        "sides_before": list(initial.model.allocation.sides),
        "sides": list(start.model.allocation.sides),
    }
