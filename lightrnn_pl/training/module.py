"""The LightningModule: training and validation steps, logging, and the optimizer.

Training uses truncated backpropagation through time.  A batch contains one window of each stream, and the module keeps
the detached hidden state from one batch to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from lightrnn_pl.checks import check_choice, check_number
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.distributed import all_reduce
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.nn.cores import State, detach_state
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.losses import ExactLoss
from lightrnn_pl.training.distillation import Distillation
from lightrnn_pl.training.ranks import gather_from_ranks, select_own_rank
from lightrnn_pl.types import Hidden, WordMask, Words

OptimizerFactory = Callable[..., Optimizer]
"""Creates an optimizer of parameters, which are its first argument."""


class LanguageModelingModule(pl.LightningModule):
    """Trains a :class:`LanguageModel` on windows of parallel text streams.

    Args:
        model: The model to train.
        optimizer: Called with the parameters; a Hydra ``_partial_``.
        loss_reduction: ``window`` minimizes the loss summed over the words of a window and averaged over streams; the
            papers' learning rate of 1.0 and maximum gradient norm of 5.0 assume it (Zaremba et al., 2014).  ``word``
            minimizes the mean loss per word.
        activation_regularization: Factor of the mean square of the hidden states after dropout, which is added to the
            mean loss per word (AR; Merity et al. 2018, section 4.6).
        temporal_activation_regularization: Factor of the mean square of the difference between consecutive hidden
            states before dropout (TAR).
        distillation: The teacher; None for none.

    Attributes:
        observer: Called with the hidden states, targets and mask of each training batch, unless it is None.
        before_fit: Called as soon as the processes of a run can communicate, unless it is None.
    """

    def __init__(
        self,
        model: LanguageModel,
        optimizer: OptimizerFactory,
        loss_reduction: Literal["window", "word"] = "window",
        activation_regularization: float = 0.0,
        temporal_activation_regularization: float = 0.0,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__()
        check_choice("loss_reduction", loss_reduction, ("window", "word"))
        check_number("regularization.activation", activation_regularization, at_least=0)
        check_number("regularization.temporal_activation", temporal_activation_regularization, at_least=0)
        self.model = model
        self.loss_reduction = loss_reduction
        self.activation_regularization = activation_regularization
        self.temporal_activation_regularization = temporal_activation_regularization
        self._optimizer = optimizer
        self._distillation = distillation
        self.observer: Callable[[Hidden, Words, WordMask], None] | None = None
        self.before_fit: Callable[[], None] | None = None
        self._state: State | None = None
        self._validation_state: State | None = None
        self._validation_sums = torch.zeros(2, dtype=torch.float64)
        # Integer buffers (allocations and sub-vector maps) are equal on all ranks, so DDP need not broadcast them at
        # every step.  Gloo and NCCL do not support int16 anyway.
        self._ddp_params_and_buffers_to_ignore = [
            f"{name}.{buffer}"
            for name, part in self.named_modules(remove_duplicate=False)
            for buffer, values in part.named_buffers(recurse=False)
            if not values.is_floating_point()
        ]

    def reset_state(self) -> None:
        """Discard the hidden state, as after a change of the allocation."""
        self._state = None

    def setup(self, stage: str) -> None:
        """Call ``before_fit``.  The process group exists, and the model is not yet wrapped for DDP."""
        if self.before_fit is not None:
            self.before_fit()

    def on_fit_start(self) -> None:
        """Seed each rank differently, so that dropout differs; a common seed has initialized the weights."""
        if self.global_rank > 0:
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    def on_train_start(self) -> None:
        """Move hidden states that were loaded from a checkpoint, and the teacher, to the device."""
        if self._state is not None:
            self._state = tuple(part.to(self.device) for part in self._state)
        if self._distillation is not None:
            self._distillation.move_to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one window; logs the mean negative log-likelihood per word."""
        states, state = self.model.core_states(batch.inputs, batch.targets, self._state, batch.reset)
        hidden = self.model.output_dropout(states)
        if self._distillation is None:
            losses = self.model.loss(self.model.output, hidden, batch.targets)
            logged = losses.detach()
        else:
            losses, logged = self._distillation.losses(self.model.output, hidden, batch)
        self._state = detach_state(state)
        if self.observer is not None:
            self.observer(hidden, batch.targets, batch.mask)
        # Indexing with a mask would wait for the device, because the number of words determines the shape.
        total = losses.masked_fill(~batch.mask, 0.0).sum()
        words = batch.mask.sum()
        mean = total / words.clamp(min=1)
        logged_mean = logged.masked_fill(~batch.mask, 0.0).sum() / words.clamp(min=1)
        # A sampled loss is not a likelihood, so it is logged under another name.
        name = "train/nll" if isinstance(self.model.loss, ExactLoss) else "train/loss"
        self.log(name, logged_mean, prog_bar=True)
        if self._distillation is not None:
            self.log("train/distillation", mean.detach())
        penalty = self._penalty(states, hidden)
        if self.loss_reduction == "word":
            return mean + penalty
        return total / len(batch.inputs) + penalty * batch.targets.shape[1]

    def _penalty(self, states: Hidden, hidden: Hidden) -> Tensor | float:
        """Both regularizers, for hidden states before and after dropout; means over all steps of the window."""
        penalty: Tensor | float = 0.0
        if self.activation_regularization:
            penalty = self.activation_regularization * hidden.float().square().mean()
        if self.temporal_activation_regularization and states.shape[1] > 1:
            differences = states[:, 1:].float() - states[:, :-1].float()
            penalty = penalty + self.temporal_activation_regularization * differences.square().mean()
        return penalty

    def on_validation_epoch_start(self) -> None:
        """Reset the hidden state and the sums."""
        self._validation_state = None
        self._validation_sums = torch.zeros(2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Sum exact log-probabilities; the mean is taken once, at the end of the epoch."""
        scores, self._validation_state = self.model.score(
            batch.inputs, batch.targets, self._validation_state, batch.reset
        )
        counted = scores.double().masked_fill(~batch.mask, 0.0)
        self._validation_sums += torch.stack([-counted.sum(), batch.mask.sum().double()])

    def on_validation_epoch_end(self) -> None:
        """Log the mean negative log-likelihood per word over all ranks, and the perplexity."""
        self._validation_state = None
        total, words = all_reduce(self._validation_sums).tolist()
        nll = total / words if words else math.nan
        self.log("valid/nll", nll, rank_zero_only=True)
        self.log("valid/perplexity", perplexity(nll), prog_bar=True, rank_zero_only=True)

    def configure_optimizers(self) -> Optimizer:
        """The optimizer; each parameter group stores its initial learning rate.

        On a CUDA device, it is fused if it can be.  With loss scaling, Lightning does not clip the gradients of fused
        optimizers.
        """
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        fused = self.device.type == "cuda" and not scaled and _can_be_fused(self._optimizer)
        optimizer = self._optimizer(self.model.parameters(), **({"fused": True} if fused else {}))
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the hidden states of every rank, so that a resumed run continues in the middle of the text."""
        checkpoint["hidden_state"] = gather_from_ranks(_on_cpu(self._state))
        if self._distillation is not None:
            checkpoint["teacher_state"] = gather_from_ranks(_on_cpu(self._distillation.state))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore this rank's hidden states."""
        parts = select_own_rank(checkpoint["hidden_state"])
        self._state = None if parts is None else tuple(parts)
        if self._distillation is not None:
            parts = select_own_rank(checkpoint["teacher_state"])
            self._distillation.state = None if parts is None else tuple(parts)


def _on_cpu(state: State | None) -> list[Tensor] | None:
    return None if state is None else [part.cpu() for part in state]


def _can_be_fused(optimizer: OptimizerFactory) -> bool:
    """Whether an optimizer of PyTorch has a fused version for GPUs, and neither ``fused`` nor ``foreach`` is set."""
    constructor, configured = getattr(optimizer, "func", optimizer), getattr(optimizer, "keywords", {})
    supported = constructor in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
    return supported and not {"fused", "foreach"} & configured.keys()
