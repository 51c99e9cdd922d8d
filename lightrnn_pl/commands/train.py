"""``lightrnn-train``: train one model."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.commands.export_sizes import print_export_sizes
from lightrnn_pl.training.experiment import train as train_model
from lightrnn_pl.training.folder_lock import exclusive_lock

_LAYERS = ("core", "embedding", "output", "loss")


def train(config: DictConfig) -> float | None:
    """Train; the validation perplexity is returned for sweepers."""
    overrides = HydraConfig.get().overrides.task
    check_paper_row(config, overrides)
    check_fine_tuning(config, overrides)
    if config.get("sizes_only"):
        print_export_sizes(config)
        return None
    check_common_run_folder()
    with exclusive_lock(config.paths.run_dir):
        metrics = train_model(config, in_sweep=HydraConfig.get().mode == RunMode.MULTIRUN)
    return (metrics.get("validation") or {}).get("perplexity")


def check_fine_tuning(config: DictConfig, overrides: Sequence[str]) -> None:
    """Check that no override is replaced by the settings of the model in ``init_from``.

    Raises:
        ValueError: Naming the override.
    """
    if config.init_from is None:
        return
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if re.match(r"(model|allocation)\b|data\.vocabulary\b", key):
            raise ValueError(f"{override} has no effect, because init_from={config.init_from} determines it; omit it")


def check_common_run_folder() -> None:
    """Check that the processes of a run that torchrun or srun has started have the same run folder.

    Raises:
        ValueError: If its name contains the time at which each of them was started.
    """
    hydra = HydraConfig.get()
    folder = OmegaConf.to_yaml(hydra.run, resolve=False)
    num_processes = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    if num_processes > 1 and hydra.mode == RunMode.RUN and "${now:" in folder:
        raise ValueError(
            f"{num_processes} processes have been started, each of which would use another run folder; set "
            "hydra.run.dir, for example to outputs/my_run, and use the same folder to resume the run"
        )


def check_paper_row(config: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Check the row of an experiment whose rows are listed in ``paper.models``.

    Args:
        config: The composed configuration.
        overrides: The overrides of the command line.

    Raises:
        ValueError: If ``paper.model`` is not a row, or an override has no effect because the row selects the layer.
    """
    paper = config.get("paper")
    if not paper or "models" not in paper:
        return
    rows = ", ".join(map(str, paper.models))
    if OmegaConf.is_missing(paper, "model"):
        raise ValueError(f"paper.model selects a row of {paper.table} and is required; use one of {rows}")
    if paper.model not in paper.models:
        raise ValueError(f"paper.model={paper.model} is not a row of {paper.table}; use one of {rows}")
    selected = [layer for layer in _LAYERS if OmegaConf.is_interpolation(config.model, layer)]
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        if (selected and key == "model") or key in {f"model/{layer}" for layer in selected}:
            raise ValueError(
                f"{override} has no effect, because paper.model={paper.model} selects the {' and '.join(selected)}; "
                "select another row, or start from an experiment without paper.model"
            )
