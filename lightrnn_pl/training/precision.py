"""The floating-point precision of training: the fastest one of a device, and a check before training.

Not every machine runs the recurrent layers in every precision.  On CPUs, for example, oneDNN trains no LSTM in float16,
and an LSTM in bfloat16 only with AVX-512.  Both fail in the first step, after the text has been read, so a step of the
recurrent layers is tried first.
"""

from __future__ import annotations

import logging

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from lightrnn_pl.building import build_part, instantiate

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
"""The precisions that an error message suggests, if the machine supports them."""

_INPUT_DIM = 8
"""Size of the inputs of the step that is tried."""

log = logging.getLogger(__name__)


def select_precision(config: DictConfig) -> str:
    """The fastest precision for ``config.model.core`` on the device of ``config.trainer``.

    The choice depends only on the type of the device, so that the runs of a sweep have the same precision.  It is
    bfloat16 where the device has instructions for it, and otherwise float16 on GPUs that have tensor cores.
    """
    device = _build_trainer(config, "32-true").strategy.root_device
    for precision in _fast_precisions(config, device):
        if _trains(config, precision):
            log.info("trainer.precision=auto: %s on %s", precision, device.type)
            return precision
    return "32-true"


def check_precision(config: DictConfig) -> None:
    """Check that the machine can train ``config.model.core`` in ``config.trainer.precision``.

    Raises:
        ValueError: If it cannot; the message lists the precisions that it supports.
    """
    precision = config.trainer.precision
    if _build_trainer(config, precision).precision == "32-true" or _trains(config, precision):
        return
    supported = [other for other in PRECISIONS if _trains(config, other)]
    core = config.model.core["_target_"].rpartition(".")[2]
    raise ValueError(
        f"trainer.precision={precision} is not supported for {core} on this machine, which supports "
        f"{', '.join(supported)}; set trainer.precision to one of these, or to auto"
    )


def _fast_precisions(config: DictConfig, device: torch.device) -> list[str]:
    """Precisions that are faster than float32, the fastest first."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return ["bf16-mixed", "16-mixed"] if major >= 8 else ["16-mixed"] if major == 7 else []
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        with torch.random.fork_rng(devices=[]):
            return ["bf16-mixed"] if build_part(config.model, "core", input_dim=_INPUT_DIM).fast_in_bfloat16 else []
    return []


def _trains(config: DictConfig, precision: str) -> bool:
    """Whether the recurrent layers can be trained in ``precision``, without changing the state of random generators."""
    trainer = _build_trainer(config, precision)
    plugin, device = trainer.precision_plugin, trainer.strategy.root_device
    if str(precision).startswith("bf16") != plugin.precision.startswith("bf16"):
        return False  # on CPUs, Lightning replaces 16-mixed by bf16-mixed
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        core = plugin.convert_module(build_part(config.model, "core", input_dim=_INPUT_DIM)).to(device)
        inputs = torch.zeros(1, 2, _INPUT_DIM, device=device, dtype=next(core.parameters()).dtype)
        try:
            with plugin.forward_context():
                _, state = core(inputs)
                hidden, _ = core(inputs, state)
            hidden.sum().backward()
        except RuntimeError:
            return False
    return True


def _build_trainer(config: DictConfig, precision: str) -> pl.Trainer:
    return instantiate(config.trainer, precision=precision, logger=False, enable_progress_bar=False)
