"""Fine-tuning: training that continues from a trained model on another corpus (``init_from``).

The run uses the model settings, the words with their ids, and the allocation of the trained model.  Words of the new
text that it does not have become the unknown word, unless they are added first
(:mod:`~lightrnn_pl.training.new_words`).
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.building import as_config, as_plain
from lightrnn_pl.checkpoint import Bundle, weights_file
from lightrnn_pl.checks import one_line
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.evaluation.text_data import own_datamodule
from lightrnn_pl.files import file_hash
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.number_text import perplexity_text
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.new_words import describe_new_words
from lightrnn_pl.training.progress import with_batch_log
from lightrnn_pl.vocabulary import Vocabulary

log = logging.getLogger(__name__)

_SPLITS = {"validation": "valid", "test": "test"}


def use_initial_model(config: DictConfig, initial: Bundle, folder: RunFolder) -> None:
    """Replace the model settings and the vocabulary rules of a run by those of a trained model.

    Args:
        config: The configuration of the run, which is modified.
        initial: The trained model.
        folder: The run folder, in which :func:`save_words` stores the words of the model.
    """
    stored = as_plain(initial.config)["model"]
    # Settings that did not exist when the model was trained have their defaults.
    model = as_config({**{key: value for key, value in config.model.items() if key not in stored}, **stored})
    allocation, vocabulary = initial.model.allocation, initial.vocabulary
    if allocation.num_components > 1 and model.get("row_sizes") is None:
        model.sides = list(allocation.sides)
    model.components = allocation.num_components
    OmegaConf.update(config, "model", model, merge=False, force_add=True)
    rules = {
        "_target_": "lightrnn_pl.vocabulary.VocabularyRules",
        "unknown": vocabulary.unknown,
        "begin": vocabulary.begin,
        "end": vocabulary.end,
        "file": str(folder.initial_vocabulary),
        "ordered": True,
    }
    OmegaConf.update(config, "data.vocabulary", rules, merge=False)


def save_words(initial: Bundle, folder: RunFolder) -> None:
    """Write the words of a trained model to the run folder, where the vocabulary rules of the run read them.

    Every process writes them, because no process group exists yet in which the others could wait for the first one, and
    machines may have folders of their own.
    """
    initial.vocabulary.save(folder.initial_vocabulary)


def copy_weights(initial: Bundle, model: LanguageModel, vocabulary: Vocabulary) -> None:
    """Copy the allocation and all weights of a trained model into a model with the same settings and words."""
    assert initial.vocabulary.fingerprint() == vocabulary.fingerprint(), "the words of the model have changed"
    model.load_state_dict(initial.model.state_dict())


def fine_tuning_report(
    config: DictConfig,
    initial: Bundle,
    start: Bundle,
    tuned: Bundle,
    datamodule: CorpusDataModule,
    results: dict[str, Any],
    device: torch.device,
) -> dict[str, Any]:
    """The perplexities before and after training on the text of the run and on the corpus of the trained model.

    If new words were added, the perplexity without them is also reported.  It is not comparable, because all new words
    count as a single one, the unknown word.

    Args:
        config: The configuration of the run.
        initial: The trained model.
        start: The model that training started from: ``initial``, or the same model with new words.
        tuned: The model after training.
        datamodule: The text of the run.
        results: The results of ``tuned`` on this text, by split.
        device: The device of ``tuned``.
    """
    file = weights_file(config.init_from)
    models = {"before": start}
    if start is not initial:
        models["without_new_words"] = initial
    for bundle in models.values():
        bundle.model.to(device)
    new: dict[str, Any] = {"corpus": datamodule.title, "location": datamodule.corpus.location()}
    for key, split in _SPLITS.items():
        if results.get(key):
            new[key] = {when: _perplexity(bundle, datamodule, split) for when, bundle in models.items()}
            new[key]["after"] = results[key]["perplexity"]
    old: dict[str, Any] = {}
    try:
        own = own_datamodule(initial, cache_dir=config.paths.cache_dir)
        old |= {"corpus": own.title, "location": own.corpus.location()}
        for key, split in _SPLITS.items():
            if split in own.splits:
                old[key] = {when: _perplexity(bundle, own, split) for when, bundle in models.items()}
                old[key]["after"] = _perplexity(tuned, own, split)
    except (OSError, ValueError) as error:
        old["not_measured"] = one_line(error)
    report = {"init_from": str(config.init_from), "sha256": file_hash(file), "old_text": old, "new_text": new}
    if start is not initial:
        report["new_words"] = describe_new_words(config, initial, start)
    return report


def print_fine_tuning(report: dict[str, Any]) -> None:
    """Print a table of the perplexities before and after training, and a warning if the new text got worse."""
    columns = {"before": "before", "after": "after"}
    if "new_words" in report:
        columns = {"without_new_words": "before, without new words", **columns}
    table = Table(title=f"fine-tuning of {report['init_from']}: perplexity", title_justify="left")
    table.add_column("text", overflow="fold")
    table.add_column("split")
    for when, column in columns.items():
        table.add_column(column, justify="right", no_wrap=when != "without_new_words")
    same_name = report["old_text"].get("corpus") == report["new_text"]["corpus"]
    for part in ("old_text", "new_text"):
        text = report[part]
        name = f"{part.replace('_', ' ')}, {(same_name and text['location']) or text['corpus']}"
        for key in _SPLITS:
            if values := text.get(key):
                table.add_row(Text(name), key, *(perplexity_text(values[when]) for when in columns))
    Console(highlight=False).print(table)
    if reason := report["old_text"].get("not_measured"):
        print(f"perplexity on the old text was not measured: {reason}")
    if "new_words" in report:
        number = report["new_words"]["words"]
        print(f"without the {number:,} new words, they all count as the unknown word, so perplexity is not comparable")
    new = report["new_text"]["validation"]
    before, after = (float("inf") if new[when] is None else new[when] for when in ("before", "after"))
    if after > before:
        log.warning(
            "The fine-tuned model is worse than %s on the new text: validation perplexity %s instead of %s.\n"
            "Use the original model, or train again with a lower optimizer.lr.",
            *(report["init_from"], perplexity_text(after), perplexity_text(before)),
        )


def _perplexity(bundle: Bundle, datamodule: CorpusDataModule, split: str) -> float:
    device = next(bundle.model.parameters()).device
    loader = with_batch_log(
        datamodule.loader_for(bundle.vocabulary, split), f"Perplexity of {datamodule.title}, {split}"
    )
    return measure_perplexity(bundle.model, loader, bundle.vocabulary, device).perplexity
