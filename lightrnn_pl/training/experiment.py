"""One run from configuration to result: the same for every model and corpus.

The order matters: text first (errors in it show before anything is built), then table, model, training, and at the
end the best model's perplexity by the evaluation protocol.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.building import as_plain, build_allocation, build_model, instantiate
from lightrnn_pl.checkpoint import Bundle, file_hash, load
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.evaluation.pictures import plot_perplexity
from lightrnn_pl.files import atomic_write, write_json
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.training.callbacks import dashboard
from lightrnn_pl.training.callbacks.bundle import BestBundle
from lightrnn_pl.training.callbacks.metrics import RunMetrics
from lightrnn_pl.training.callbacks.reallocation import Reallocation
from lightrnn_pl.training.callbacks.resume import AtomicCheckpointIO
from lightrnn_pl.training.console import print_config, print_model, print_results
from lightrnn_pl.training.module import LanguageModelingModule
from lightrnn_pl.vocabulary import Vocabulary

log = logging.getLogger(__name__)

DEFINES_A_RUN = (
    "data",
    "model",
    "allocation",
    "reallocation",
    "solver",
    "schedule",
    "optimizer",
    "loss_reduction",
    "seed",
)
"""Parts of the configuration that may not change when a run is resumed; the others may."""


class RunFolder:
    """Where a run keeps what it makes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.json"
        self.best = self.path / "best.ckpt"
        self.last = self.path / "last.ckpt"
        self.picture = self.path / "perplexity.png"

    def finished(self) -> dict[str, Any] | None:
        """The metrics of a run that was completed here."""
        if not self.metrics.is_file():
            return None
        metrics = json.loads(self.metrics.read_text(encoding="utf-8"))
        return metrics if metrics["status"] == "completed" else None

    def check_same_run(self, config: DictConfig) -> None:
        """Refuse to go on here with another configuration.

        Raises:
            ValueError: Naming the keys that differ.
        """
        if not self.config.is_file():
            return
        before = OmegaConf.load(self.config)
        assert isinstance(before, DictConfig)
        differing = [
            key for part in DEFINES_A_RUN for key in _differences(part, before.get(part), as_plain(config).get(part))
        ]
        if differing:
            raise ValueError(
                f"{self.path} holds a run with another configuration ({', '.join(differing[:8])}); "
                "give another hydra.run.dir, or resume=false to throw that run away"
            )

    def clear(self) -> None:
        """Remove what an earlier run left."""
        for path in (self.config, self.metrics, self.best, self.last, self.picture):
            path.unlink(missing_ok=True)


def train(config: DictConfig) -> dict[str, Any]:
    """Run what ``config`` describes in ``config.paths.run_dir``; go on where an earlier call was cut off.

    Returns:
        What ``metrics.json`` holds at the end.

    Raises:
        ValueError, FileNotFoundError: For bad input, before training starts.
    """
    folder = RunFolder(config.paths.run_dir)
    first_rank = getattr(rank_zero_only, "rank", 0) == 0
    if config.resume:
        folder.check_same_run(config)
        finished = folder.finished()
        if finished is not None:
            if first_rank:
                log.info("this run is already complete; resume=false would start it over")
                print_results({folder.path.name: finished})
            return finished
    elif first_rank:
        folder.clear()

    _hush_lightning()
    if first_rank:
        dashboard.offline_unless_logged_in()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    if first_rank:
        print_config(config)
    with _told_before_training(config, folder):
        trainer, module, datamodule, metrics, reallocation, loggers = _assemble(config, folder, first_rank)

    with _told_how_it_ended(metrics, loggers, folder):
        resumed = folder.last if config.resume and folder.last.is_file() else None
        if resumed is not None and first_rank:
            log.info("resuming from %s", resumed)
        trainer.fit(module, datamodule=datamodule, ckpt_path=resumed, weights_only=True)
        reallocation.finish()
    if not trainer.is_global_zero:
        return {}
    datamodule.trainer = None  # from here on this process reads all of the text, whatever the others do
    with _told_how_it_ended(metrics, loggers, folder):
        return _conclude(config, datamodule, folder, metrics, loggers, trainer.strategy.root_device)


def _assemble(
    config: DictConfig, folder: RunFolder, first_rank: bool
) -> tuple[pl.Trainer, LanguageModelingModule, CorpusDataModule, RunMetrics, Reallocation, list[Any]]:
    """Everything that a run consists of."""
    datamodule: CorpusDataModule = instantiate(config.data)
    if "valid" not in datamodule.splits:
        raise ValueError("training needs a validation text, which tells when a round has converged; set data.valid")
    datamodule.prepare_data()
    datamodule.setup("fit")
    allocation = build_allocation(config, datamodule.vocabulary, datamodule.training_tokens())
    model = build_model(config, allocation)
    if first_rank:
        print_model(model)
        with atomic_write(folder.config, "w") as file:
            file.write(OmegaConf.to_yaml(config, resolve=True))

    schedule = instantiate(config.schedule)
    reallocation: Reallocation = instantiate(config.reallocation, solver=instantiate(config.solver), schedule=schedule)
    metrics = RunMetrics(folder.metrics, _facts(config, datamodule, model), reallocation)
    bundles = BestBundle(folder.best, _Bundler(config, datamodule.vocabulary, datamodule.protocol()))
    resume = instantiate(config.resume_point, path=folder.last)
    extra = [instantiate(callback) for callback in config.callbacks.values() if callback]
    loggers = [instantiate(logger) for logger in config.logger.values() if logger]
    for logger in loggers:
        logger.log_hyperparams(as_plain(config))
    trainer: pl.Trainer = instantiate(
        config.trainer,
        # The order is the order at the end of a validation: judge the rate, note, keep the best, then move words.
        callbacks=[schedule, metrics, bundles, reallocation, resume, *extra],
        logger=loggers,
        # Without this, Lightning puts a bar of its own where the configuration has none.
        enable_progress_bar=any(isinstance(callback, pl.callbacks.ProgressBar) for callback in extra),
        plugins=[AtomicCheckpointIO()],
    )
    module = LanguageModelingModule(model, instantiate(config.optimizer), config.loss_reduction)
    return trainer, module, datamodule, metrics, reallocation, loggers


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


def _conclude(
    config: DictConfig,
    datamodule: CorpusDataModule,
    folder: RunFolder,
    metrics: RunMetrics,
    loggers: list[Any],
    device: torch.device,
) -> dict[str, Any]:
    """The best model's perplexities, the picture, the last word of ``metrics.json``."""
    if not folder.best.is_file():
        raise ValueError("no validation was made, so there is no best model; raise trainer.max_epochs or max_steps")
    bundle = load(folder.best, device=device)
    results: dict[str, Any] = {}
    for key, split in (("validation", "valid"), ("test", "test")):
        if split == "test" and datamodule.num_tokens.get("test") is None:
            results[key] = None
            continue
        batches = datamodule.evaluation_dataloader(split)
        results[key] = measure_perplexity(bundle.model, batches, bundle.vocabulary, device).as_dict()
    pictures = [plot_perplexity({config.name: metrics.history}, folder.picture)] if metrics.history else []
    written = metrics.write(
        "completed",
        **results,
        checkpoint={"path": folder.best.name, "sha256": file_hash(folder.best)},
        table=bundle.model.allocation.fingerprint(),
    )
    dashboard.finish(loggers, written, pictures)
    print_results({config.name: written})
    log.info("run folder: %s (metrics.json, best.ckpt, perplexity.png)", folder.path)
    return written


@contextlib.contextmanager
def _told_before_training(config: DictConfig, folder: RunFolder) -> Iterator[None]:
    """Leave a ``metrics.json`` also where a run fails before there is anything to measure; a sweep looks there."""
    try:
        yield
    except Exception as error:
        if getattr(rank_zero_only, "rank", 0) == 0:
            known = json.loads(folder.metrics.read_text(encoding="utf-8")) if folder.metrics.is_file() else {}
            told = {"name": config.name, "seed": config.seed, "error": f"{type(error).__name__}: {error}"}
            written = {**known, **told, "status": "failed"}
            write_json(folder.metrics, written)
            dashboard.finish([], written)
        raise


@contextlib.contextmanager
def _told_how_it_ended(metrics: RunMetrics, loggers: list[Any], folder: RunFolder) -> Iterator[None]:
    """Write how a run ended where it did not end well, and close its W&B run."""
    try:
        yield
    except BaseException as error:
        # Lightning turns Ctrl-C into SystemExit.
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        status = "interrupted" if interrupted else "failed"
        if getattr(rank_zero_only, "rank", 0) == 0:
            written = metrics.write(status, error=None if interrupted else f"{type(error).__name__}: {error}")
            dashboard.finish(loggers, written)
            if interrupted and folder.last.is_file():
                print(f"interrupted; the same command with hydra.run.dir={folder.path} goes on", file=sys.stderr)
        raise


def _hush_lightning() -> None:
    """Lightning's notes on hardware and its tips say nothing about the run; its warnings stay."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*treespec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # the module sums over ranks itself


def _differences(prefix: str, one: Any, other: Any) -> list[str]:
    if OmegaConf.is_config(one):
        one = OmegaConf.to_container(one, resolve=True)
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other}, key=str)
        return [found for key in keys for found in _differences(f"{prefix}.{key}", one.get(key), other.get(key))]
    return [] if one == other else [prefix]
