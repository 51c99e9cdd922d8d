"""One run from configuration to result: the same for every model and corpus.

The order matters: text first (errors in it show before anything is built), then table, model, training, and at the
end the best model's perplexity by the evaluation protocol.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.building import as_plain, build_allocation, build_model, instantiate
from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.evaluation.perplexity import sum_up, word_losses
from lightrnn_pl.files import file_hash
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.callbacks.best_bundle import BestBundle
from lightrnn_pl.training.callbacks.final_validation import FinalValidation
from lightrnn_pl.training.callbacks.resume_point import AtomicCheckpointIO
from lightrnn_pl.training.callbacks.run_metrics import RunMetrics
from lightrnn_pl.training.callbacks.run_plots import RunPictures
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.provenance import code_commit, machine
from lightrnn_pl.training.ranks import is_first_rank
from lightrnn_pl.training.reallocation.callback import Reallocation
from lightrnn_pl.training.reallocation.table_record import TableRecord
from lightrnn_pl.training.resume_check import check_same_run
from lightrnn_pl.training.tracking import wandb_runs as dashboard
from lightrnn_pl.training.tracking.console import print_config, print_model, print_results, print_typical
from lightrnn_pl.training.tracking.perplexity_plot import plot_perplexity
from lightrnn_pl.vocabulary import Vocabulary

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """What a run consists of."""

    trainer: pl.Trainer
    module: LanguageModelingModule
    datamodule: CorpusDataModule
    reallocation: Reallocation
    metrics: RunMetrics
    pictures: RunPictures


def train(config: DictConfig) -> dict[str, Any]:
    """Run what ``config`` describes in ``config.paths.run_dir``; resume an interrupted earlier call.

    Returns:
        What ``metrics.json`` holds at the end.

    Raises:
        ValueError, FileNotFoundError: For bad input, before training starts.
    """
    folder = RunFolder(config.paths.run_dir)
    _anchor_paths(config)
    if config.resume:
        check_same_run(folder, config)
        known = folder.read_metrics()
        if known.get("status") == "completed":
            if is_first_rank():
                log.info("this run is complete and is not extended; resume=false would start it over")
                print_results({folder.path.name: known})
            return known

    _hush_lightning()
    if is_first_rank():
        dashboard.offline_unless_logged_in()
        print_config(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    with _told_before_training(config, folder):
        run = _assemble(config, folder)
    with _told_how_it_ended(run, folder):
        resumed = _resumed_from(config, folder)
        if resumed is not None and is_first_rank():
            log.info("resuming from %s", resumed)
        run.trainer.fit(run.module, datamodule=run.datamodule, ckpt_path=resumed, weights_only=True)
        run.reallocation.finish()
    if not run.trainer.is_global_zero:
        return {}
    run.datamodule.trainer = None  # from here on this process reads all of the text, whatever the others do
    with _told_how_it_ended(run, folder):
        return _conclude(config, run, folder)


def _resumed_from(config: DictConfig, folder: RunFolder) -> Path | None:
    return folder.last if config.resume and folder.last.is_file() else None


def _assemble(config: DictConfig, folder: RunFolder) -> _Run:
    """Text, what moves words, table, model, callbacks, trainer: bad values are refused before what takes long."""
    datamodule: CorpusDataModule = instantiate(config.data)
    if "valid" not in datamodule.splits:
        raise ValueError("training needs a validation text to decide when a round has converged; set data.valid")
    if config.trainer.get("limit_val_batches") == 0:
        raise ValueError(
            "trainer.limit_val_batches=0 leaves no validation to decide when a round has converged; raise it"
        )
    datamodule.prepare_data()
    datamodule.setup("fit")
    schedule, record = instantiate(config.schedule), TableRecord(folder, datamodule.vocabulary)
    reallocation: Reallocation = instantiate(config.bootstrap, schedule=schedule, record=record)
    # A run that goes on has its table in its checkpoint; a first one can take minutes to make.
    words_placed = _resumed_from(config, folder) is None
    allocation = build_allocation(config, datamodule.vocabulary, datamodule.training_tokens(), words_placed)
    model = build_model(config, allocation, datamodule.vocabulary, tokens=datamodule.training_tokens())
    if is_first_rank():
        print_model(model)

    facts = _facts(config, datamodule, model)
    metrics = RunMetrics(folder.metrics, facts, reallocation)
    pictures = RunPictures(config.name, folder.perplexity_plot, metrics, record)
    bundles = BestBundle(folder.best, _Bundler(config, datamodule.vocabulary, datamodule.protocol()))
    resume = instantiate(config.resume_point, path=folder.last)
    last = FinalValidation(metrics, bundles, reallocation)
    extra = [instantiate(callback) for callback in config.callbacks.values() if callback]
    loggers = [instantiate(logger) for logger in config.logger.values() if logger]
    for logger in loggers:
        logger.log_hyperparams({**as_plain(config), "commit": facts["commit"]})
    trainer: pl.Trainer = instantiate(
        config.trainer,
        # The order is the order at the end of a validation: judge the rate, note, keep the best, then move words.
        callbacks=[schedule, metrics, bundles, reallocation, pictures, resume, last, *extra],
        logger=loggers,
        # Without this, Lightning puts a bar of its own where the configuration has none.
        enable_progress_bar=any(isinstance(callback, pl.callbacks.ProgressBar) for callback in extra),
        plugins=[AtomicCheckpointIO()],
    )
    module = LanguageModelingModule(model, instantiate(config.optimizer), config.loss_reduction)
    # Not before the run is known to be able to start: the folder would belong to it, and resume=false clears it.
    if is_first_rank():
        if not config.resume:
            folder.clear()
        folder.write_config(config)
    return _Run(trainer, module, datamodule, reallocation, metrics, pictures)


class _Bundler:
    """Makes bundles of a run: all but the weights stays the same."""

    def __init__(self, config: DictConfig, vocabulary: Vocabulary, protocol: dict[str, Any]) -> None:
        self.config, self.vocabulary, self.protocol = config, vocabulary, protocol

    def __call__(self, model: LanguageModel, metrics: dict[str, Any]) -> Bundle:
        return Bundle(model, self.vocabulary, self.config, self.protocol, metrics)


def _facts(config: DictConfig, datamodule: CorpusDataModule, model: LanguageModel) -> dict[str, Any]:
    return {
        "name": config.name,
        "seed": config.seed,
        "commit": code_commit(),
        "machine": machine(),
        "parameters": model.num_parameters,
        "bytes": model.num_bytes,
        "components": model.allocation.num_components,
        "sides": list(model.allocation.sides),
        "vocabulary": len(datamodule.vocabulary),
        "tokens": dict(datamodule.num_tokens),
        "protocol": datamodule.protocol(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _conclude(config: DictConfig, run: _Run, folder: RunFolder) -> dict[str, Any]:
    """The best model's perplexities, the picture, the last word of ``metrics.json``."""
    if not folder.best.is_file():
        raise ValueError("no step of training was made, so there is no model; raise trainer.max_epochs or max_steps")
    datamodule, metrics, device = run.datamodule, run.metrics, run.trainer.strategy.root_device
    bundle = load(folder.best, device=device)
    allocation = bundle.model.allocation
    record = run.reallocation.record if allocation.num_components > 1 else None
    results: dict[str, Any] = {}
    for key, split in (("validation", "valid"), ("test", "test")):
        if split == "test" and datamodule.num_tokens.get("test") is None:
            results[key] = None
            continue
        batches = datamodule.evaluation_dataloader(split)
        losses = word_losses(bundle.model, batches, device)
        results[key] = sum_up(losses, bundle.vocabulary).as_dict()
        if split == "valid" and record is not None:
            record.finish(len(run.reallocation.rounds), allocation, losses.means())
    if record is not None:
        results["typical"] = record.typical(allocation)
    if metrics.history:
        plot_perplexity({config.name: metrics.history}, folder.perplexity_plot)
        run.pictures.conclude(run.trainer, allocation)
    written = metrics.write(
        "completed",
        **results,
        checkpoint={"path": folder.best.name, "sha256": file_hash(folder.best)},
        table=allocation.fingerprint(),
    )
    dashboard.finish(run.trainer.loggers, written, folder.best)
    if record is not None:
        print_typical(written["typical"])
    print_results({config.name: written})
    files = ", ".join(path.name for path in (folder.metrics, folder.best, folder.perplexity_plot))
    log.info("run folder: %s (%s)", folder.path, files)
    return written


@contextlib.contextmanager
def _told_before_training(config: DictConfig, folder: RunFolder) -> Iterator[None]:
    """Leave a ``metrics.json`` also where a run fails before there is anything to measure; a sweep looks there."""
    try:
        yield
    except Exception as error:
        if is_first_rank() and folder.read_metrics().get("status") != "completed":
            told = {"name": config.name, "seed": config.seed, "error": f"{type(error).__name__}: {error}"}
            written = {**folder.read_metrics(), **told, "status": "failed"}
            folder.write_metrics(written)
            dashboard.finish([], written)
        raise


@contextlib.contextmanager
def _told_how_it_ended(run: _Run, folder: RunFolder) -> Iterator[None]:
    """Write how a run ended where it did not end well, and close its W&B run."""
    try:
        yield
    except BaseException as error:
        # Lightning turns Ctrl-C into SystemExit.
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        status = "interrupted" if interrupted else "failed"
        if is_first_rank():
            written = run.metrics.write(status, error=None if interrupted else f"{type(error).__name__}: {error}")
            dashboard.finish(run.trainer.loggers, written)
            if interrupted and folder.last.is_file():
                print(f"interrupted; the same command with hydra.run.dir={folder.path} goes on", file=sys.stderr)
        raise


def _anchor_paths(config: DictConfig) -> None:
    """Let relative paths of text mean the same to whoever reads the saved configuration elsewhere."""
    if "root" in config.data and OmegaConf.select(config, "data.root") is None:
        config.data.root = str(Path.cwd())


def _hush_lightning() -> None:
    """Lightning's notes on hardware and its tips say nothing about the run; its warnings stay."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*treespec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # the module sums over ranks itself
