"""A training run, from the configuration to the result.

The steps are the same for every model and corpus: check the settings, read the text, build the model, compute the
initial allocation, train, and evaluate the best model with the evaluation protocol.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightrnn_pl.building import as_plain, build_allocation, build_model, build_optimizer, instantiate
from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.distributed import from_first_rank
from lightrnn_pl.evaluation.perplexity import summarize, word_losses
from lightrnn_pl.files import file_hash
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.number_text import batch_limit_text
from lightrnn_pl.run_folder import RunFolder
from lightrnn_pl.training.callbacks.best_bundle import BestBundle
from lightrnn_pl.training.callbacks.final_validation import FinalValidation
from lightrnn_pl.training.callbacks.interruption import Interruption, exit_on_sigterm, exit_status_of_signals
from lightrnn_pl.training.callbacks.resume_point import AtomicCheckpointIO, InvalidCheckpointError, ResumePoint
from lightrnn_pl.training.callbacks.run_metrics import RunMetrics
from lightrnn_pl.training.callbacks.run_plots import RunPlots
from lightrnn_pl.training.configuration_keys import check_keys
from lightrnn_pl.training.configuration_values import check_values
from lightrnn_pl.training.distillation import Distillation, check_teacher_weight
from lightrnn_pl.training.fine_tuning import (
    copy_weights,
    fine_tuning_report,
    print_fine_tuning,
    save_words,
    use_initial_model,
)
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.training.new_words import check_new_words, save_model, with_new_words
from lightrnn_pl.training.precision import check_precision, select_precision
from lightrnn_pl.training.progress import with_batch_log
from lightrnn_pl.training.provenance import code_commit, machine
from lightrnn_pl.training.ranks import check_equal_on_ranks, is_first_rank
from lightrnn_pl.training.reallocation.callback import Reallocation
from lightrnn_pl.training.reallocation.table_record import TableRecord
from lightrnn_pl.training.resume_check import check_same_run
from lightrnn_pl.training.tracking import wandb_runs as dashboard
from lightrnn_pl.training.tracking.console import print_model, print_results, print_typical_words
from lightrnn_pl.training.tracking.perplexity_plot import plot_perplexity
from lightrnn_pl.vocabulary import Vocabulary

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """The objects of a run."""

    trainer: pl.Trainer
    module: LanguageModelingModule
    datamodule: CorpusDataModule
    reallocation: Reallocation
    metrics: RunMetrics
    plots: RunPlots
    resume_point: ResumePoint


def train(config: DictConfig, in_sweep: bool = False) -> dict[str, Any]:
    """Train a model in ``config.paths.run_dir``, or resume an interrupted run there.

    Args:
        config: The composed configuration.
        in_sweep: Whether the run is a job of a sweep, which reports how to resume all of its jobs.

    Returns:
        The final content of ``metrics.json``; an empty dictionary on all ranks but the first.

    Raises:
        ValueError, FileNotFoundError: For invalid input, before training starts.
    """
    check_keys(config)
    check_values(config)
    folder = RunFolder(config.paths.run_dir)
    _set_data_paths(config)
    initial = None if config.get("init_from") is None else load(config.init_from)
    check_new_words(config)
    check_teacher_weight(config.teacher_weight)
    distillation = None
    if config.teacher is not None:
        distillation = Distillation(load(config.teacher), config.teacher_weight)
    start = None if initial is None else with_new_words(config, initial, folder)
    if start is not None:
        use_initial_model(config, start, folder)
    _silence_lightning()
    if config.trainer.precision == "auto":
        config.trainer.precision = select_precision(config)
    if config.resume:
        metrics = folder.read_metrics()
        is_complete = metrics.get("status") == "completed"
        check_same_run(folder, config, is_complete)
        if is_complete:
            if is_first_rank():
                log.info("this run is already complete; pass resume=false to delete it and train again")
                print_results({config.name: metrics})
            return metrics

    if start is not None:
        save_words(start, folder)  # only now, because the command may have been refused in the folder of another run
        if start is not initial:
            save_model(start, folder)
    if is_first_rank():
        dashboard.offline_unless_logged_in()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    was_interrupted = config.resume and folder.read_metrics().get("status") in ("running", "interrupted")
    with _record_setup_failure(config, folder):
        run = _build_run(config, folder, start, distillation)
    with _record_abnormal_end(run, folder, in_sweep), exit_status_of_signals():
        checkpoint = _checkpoint_to_resume(config, folder)
        if is_first_rank():
            if checkpoint is not None:
                log.info("resuming from %s", checkpoint)
            elif was_interrupted:
                log.info("%s was interrupted before its first resume point; starting over", folder.path)
        with _explain_invalid_checkpoint(checkpoint, run.resume_point):
            run.trainer.fit(run.module, datamodule=run.datamodule, ckpt_path=checkpoint, weights_only=True)
        run.reallocation.finish()
    if not run.trainer.is_global_zero:
        return {}
    run.datamodule.trainer = None  # from here on, the first process alone reads the whole text
    with _record_abnormal_end(run, folder, in_sweep), exit_on_sigterm():
        return _evaluate_and_finish(config, run, folder, initial, start)


def _checkpoint_to_resume(config: DictConfig, folder: RunFolder) -> Path | None:
    return folder.last if config.resume and folder.last.is_file() else None


def _build_run(config: DictConfig, folder: RunFolder, start: Bundle | None, distillation: Distillation | None) -> _Run:
    """Build all objects of a run.

    Whatever checks settings quickly comes before the text is read, and everything else before the initial allocation is
    computed, because both can take minutes.
    """
    datamodule: CorpusDataModule = instantiate(config.data)
    if "valid" not in datamodule.splits:
        raise ValueError("training needs a validation text to decide when a round has converged; set data.valid")
    if config.trainer.get("limit_val_batches") == 0:
        raise ValueError(
            "trainer.limit_val_batches=0 disables validation, which decides when a round has converged; increase it"
        )
    schedule = instantiate(config.schedule)
    _check_trainer_and_optimizer(config)
    datamodule.prepare_data()
    datamodule.setup("fit")
    if is_first_rank():  # only now, because the text may have been refused
        log.info("run %s, seed %s\nfolder %s", config.name, config.seed, folder.path)
    if distillation is not None:
        distillation.check_vocabulary(datamodule.vocabulary)
    record = TableRecord(folder, datamodule.vocabulary)
    reallocation: Reallocation = instantiate(config.bootstrap, schedule=schedule, record=record)
    allocation = build_allocation(config, datamodule.vocabulary, assign_words=False)
    model = build_model(config, allocation, datamodule.vocabulary, tokens=datamodule.training_tokens())
    if distillation is not None:
        distillation.check_student(model)
    if is_first_rank():
        print_model(model)

    metadata = {**_run_metadata(config, datamodule, model), **folder.command()}
    metrics = RunMetrics(folder.metrics, metadata, reallocation)
    plots = RunPlots(config.name, folder.perplexity_plot, metrics, record)
    best_bundle = BestBundle(folder.best, _BundleFactory(config, datamodule.vocabulary, datamodule.protocol()))
    resume_point: ResumePoint = instantiate(config.resume_point, path=folder.last)
    final_validation = FinalValidation(metrics, best_bundle, reallocation)
    averaging = [instantiate(config.averaging, reallocation=reallocation)] if config.averaging else []
    extra = [instantiate(callback) for callback in config.callbacks.values() if callback]
    loggers = [instantiate(logger) for logger in config.logger.values() if logger]
    for logger in loggers:
        logger.log_hyperparams({**as_plain(config), "commit": metadata["commit"]})
    trainer: pl.Trainer = instantiate(
        config.trainer,
        # At the end of a validation: set the learning rate, record the metrics, save the best model, reallocate, and
        # only then restore the weights that their average has replaced.
        callbacks=[
            *(
                schedule,
                metrics,
                best_bundle,
                reallocation,
                plots,
                *averaging,
                final_validation,
                resume_point,
                Interruption(resume_point),
                *extra,
            )
        ],
        logger=loggers,
        # Lightning adds its own progress bar unless this is False.
        enable_progress_bar=any(isinstance(callback, pl.callbacks.ProgressBar) for callback in extra),
        plugins=[AtomicCheckpointIO()],
    )
    module = LanguageModelingModule(
        model,
        instantiate(config.optimizer),
        config.loss_reduction,
        activation_regularization=config.regularization.activation,
        temporal_activation_regularization=config.regularization.temporal_activation,
        distillation=distillation,
    )
    is_resumed = _checkpoint_to_resume(config, folder) is not None  # its weights and allocation are in the checkpoint
    if not is_resumed and start is not None:
        copy_weights(start, model, datamodule.vocabulary)
    needs_allocation = not is_resumed and start is None
    if trainer.world_size > 1:
        module.before_fit = partial(_agree_on_model, config, datamodule, model, needs_allocation)
    elif needs_allocation:
        _assign_initial_allocation(config, datamodule, model)
    # The folder is changed only once everything has been built: a run that cannot start must not delete another.
    if is_first_rank():
        folder.remove_leftovers()
        if not config.resume:
            folder.clear()
        folder.write_config(config)
    return _Run(trainer, module, datamodule, reallocation, metrics, plots, resume_point)


def _assign_initial_allocation(config: DictConfig, datamodule: CorpusDataModule, model: LanguageModel) -> None:
    """Compute the initial allocation.  In a distributed run, only the first process does."""

    def codes() -> torch.Tensor:
        return build_allocation(config, datamodule.vocabulary, datamodule.training_tokens()).codes

    model.allocation.assign(from_first_rank(codes))
    model.output.initialise_for_allocation()


def _agree_on_model(
    config: DictConfig, datamodule: CorpusDataModule, model: LanguageModel, needs_allocation: bool
) -> None:
    """Give the processes of a distributed run the same allocation.

    Raises:
        ValueError: If they have different vocabularies, or different tables of shared vectors.
    """
    digest = hashlib.sha256(datamodule.vocabulary.fingerprint().encode())
    for name, buffer in model.named_buffers():
        if not buffer.is_floating_point():
            digest.update(name.encode() + buffer.cpu().numpy().tobytes())
    check_equal_on_ranks(digest.hexdigest())
    if needs_allocation:
        _assign_initial_allocation(config, datamodule, model)


def _check_trainer_and_optimizer(config: DictConfig) -> None:
    """Build both once without their callbacks and parameters, to refuse invalid settings and unavailable devices.

    Raises:
        ValueError: Naming the setting.
    """
    max_time = as_plain(config.trainer).get("max_time")
    try:
        pl.callbacks.Timer(max_time)
    except (MisconfigurationException, TypeError, ValueError):
        raise ValueError(
            f"trainer.max_time={max_time} is not a duration; pass days:hours:minutes:seconds, such as 00:00:10:00"
        ) from None
    check_precision(config)
    build_optimizer(config.optimizer, [torch.nn.Parameter(torch.zeros(1))])


class _BundleFactory:
    """Creates the bundles of a run, which differ only in weights and metrics."""

    def __init__(self, config: DictConfig, vocabulary: Vocabulary, protocol: dict[str, Any]) -> None:
        self.config, self.vocabulary, self.protocol = config, vocabulary, protocol

    def __call__(self, model: LanguageModel, metrics: dict[str, Any]) -> Bundle:
        return Bundle(model, self.vocabulary, self.config, self.protocol, metrics)


def _run_metadata(config: DictConfig, datamodule: CorpusDataModule, model: LanguageModel) -> dict[str, Any]:
    """The entries of ``metrics.json`` that do not change during a run."""
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
        "validation_limit": batch_limit_text(config.trainer, "limit_val_batches", "overfit_batches"),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _evaluate_and_finish(
    config: DictConfig, run: _Run, folder: RunFolder, initial: Bundle | None, start: Bundle | None
) -> dict[str, Any]:
    """Evaluate the best model, draw the perplexity plot, and write the final ``metrics.json``."""
    if not folder.best.is_file():
        raise ValueError(
            "no model was saved: training ended before the first step; increase trainer.max_epochs or max_steps"
        )
    datamodule, metrics, device = run.datamodule, run.metrics, run.trainer.strategy.root_device
    bundle = load(folder.best, device=device)
    allocation = bundle.model.allocation
    record = run.reallocation.record if allocation.num_components > 1 else None
    results: dict[str, Any] = {}
    for key, split in (("validation", "valid"), ("test", "test")):
        if split == "test" and datamodule.num_tokens.get("test") is None:
            results[key] = None
            continue
        batches = with_batch_log(datamodule.evaluation_dataloader(split), f"Perplexity of the {key} text")
        losses = word_losses(bundle.model, batches, device)
        results[key] = summarize(losses, bundle.vocabulary).as_dict()
        if split == "valid" and record is not None:
            record.save_validation(len(run.reallocation.rounds), allocation, losses.means())
    if record is not None:
        results["typical"] = record.typical_words(allocation)
    if initial is not None and start is not None:
        results["fine_tuning"] = fine_tuning_report(config, initial, start, bundle, datamodule, results, device)
    if metrics.history:
        plot_perplexity({config.name: metrics.history}, folder.perplexity_plot)
        run.plots.log_final(run.trainer, allocation)
    final = metrics.write(
        "completed",
        **results,
        checkpoint={"path": folder.best.name, "sha256": file_hash(folder.best)},
        table=allocation.fingerprint(),
    )
    dashboard.finish(run.trainer.loggers, final, folder.best)
    if record is not None:
        print_typical_words(final["typical"])
    print_results({config.name: final})
    if initial is not None:
        print_fine_tuning(final["fine_tuning"])
    files = ", ".join(path.name for path in (folder.metrics, folder.best, folder.perplexity_plot))
    log.info("run folder: %s\n(%s)", folder.path, files)
    return final


@contextlib.contextmanager
def _record_setup_failure(config: DictConfig, folder: RunFolder) -> Iterator[None]:
    """Write ``metrics.json`` if a run fails before training, because a sweep reads the status from there."""
    try:
        yield
    except Exception as error:
        if is_first_rank() and folder.read_metrics().get("status") != "completed":
            failure = {"name": config.name, "seed": config.seed, "error": f"{type(error).__name__}: {error}"}
            metrics = {**folder.read_metrics(), **failure, "status": "failed"}
            folder.write_metrics(metrics)
            dashboard.finish([], metrics)
        raise


@contextlib.contextmanager
def _explain_invalid_checkpoint(checkpoint: Path | None, resume_point: ResumePoint) -> Iterator[None]:
    """Replace the exceptions that invalid content of a checkpoint causes while it is restored.

    Raises:
        ValueError: Naming the file and the remedy.
    """
    try:
        yield
    except Exception as error:  # Lightning and the callbacks raise many kinds of exceptions
        if checkpoint is None or resume_point.is_restored or "cannot resume" in str(error):
            raise
        raise InvalidCheckpointError(checkpoint) from error


@contextlib.contextmanager
def _record_abnormal_end(run: _Run, folder: RunFolder, in_sweep: bool) -> Iterator[None]:
    """If a run fails or is interrupted, write its status to ``metrics.json`` and close its W&B run."""
    try:
        yield
    except BaseException as error:
        # Lightning turns Ctrl-C into SystemExit.
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        status = "interrupted" if interrupted else "failed"
        if is_first_rank():
            metrics = run.metrics.write(status, error=None if interrupted else f"{type(error).__name__}: {error}")
            dashboard.finish(run.trainer.loggers, metrics)
            if interrupted and not folder.last.is_file():
                again = "this job will start over" if in_sweep else "the same command starts over"
                kept = f"the best model so far is in {folder.best}; " if folder.best.is_file() else ""
                print(
                    f"interrupted before the first resume point (resume_point.every_minutes);\n{kept}{again}",
                    file=sys.stderr,
                )
            elif interrupted and not in_sweep:
                print(f"interrupted; rerun the command with hydra.run.dir={folder.path} to resume", file=sys.stderr)
        raise


def _set_data_paths(config: DictConfig) -> None:
    """Make the paths of the text absolute, so that the saved configuration is valid in other directories too."""
    archive, root = (OmegaConf.select(config, f"data.{key}") for key in ("archive", "root"))
    if isinstance(root, str):
        config.data.root = str(Path(root).absolute())
    elif "archive" in list(config.data):  # including a missing value, which is reported later
        if archive is not None and "://" not in archive:
            config.data.archive = str(Path(archive).absolute())
    elif "root" in config.data and root is None:
        config.data.root = str(Path.cwd())


def _silence_lightning() -> None:
    """Hide Lightning's hardware summary and tips, and warnings that do not apply here."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*treespec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*fp16 is not supported on CPU.*")  # refused by check_precision
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # the module sums over ranks itself
