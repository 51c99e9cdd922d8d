"""One training step of each model, and of the model of pytorch/examples, for the benchmarks of training.

A step is a forward and a backward pass, gradient clipping, and an update by stochastic gradient descent, on words drawn
according to Zipf's law, with the state carried over from the last step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from harness import compose_config, zipf_vocabulary, zipf_words
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.nn.cores import FusedCore, detach_state

PUBLISHED = "word_language_model"
"""The name of the model of pytorch/examples."""


@dataclass(frozen=True)
class Setting:
    """Sizes and hardware of a step.

    Attributes:
        num_words: V.
        hidden: Size of the embedding and of the hidden state.
        layers: Number of recurrent layers.
        batch: Number of streams.
        window: Words per stream and step.
        dropout: On the inputs and outputs of the recurrent layers, and between them.
        device: Device.
        precision: ``float32``, or the type of autocast, such as ``bfloat16``.
    """

    num_words: int
    hidden: int = 200
    layers: int = 1
    batch: int = 20
    window: int = 35
    dropout: float = 0.2
    device: str = "cpu"
    precision: str = "float32"


class PublishedModel(nn.Module):
    """The recurrent model of pytorch/examples (word_language_model): embedding, LSTM, linear layer and log-softmax."""

    def __init__(self, num_words: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(num_words, hidden)
        self.rnn = nn.LSTM(hidden, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.decoder = nn.Linear(hidden, num_words)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, words: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Words (T, B) -> log-probabilities (T B, V), and the state."""
        hidden, state = self.rnn(self.drop(self.encoder(words)), state)
        return self.decoder(self.drop(hidden)).flatten(0, 1).log_softmax(1), state


@dataclass(frozen=True)
class TrainingStep:
    """A step, its model, the operations of its recurrent layers, and the compression of its embedding, if any."""

    run: Callable[[], Tensor]
    model: nn.Module
    core_operations: float
    compression: float | None = None

    def operations(self) -> float:
        """Floating-point operations of the matrix products of a step, which this call runs."""
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _product_operations}) as counter:
            self.run()
        return counter.get_total_flops() + self.core_operations


def create_step(name: str, setting: Setting) -> TrainingStep:
    """The step of ``PUBLISHED`` or of a model in conf/model, followed by overrides: ``lightrnn model/core=mingru``."""
    torch.manual_seed(0)
    device, shape = torch.device(setting.device), (setting.batch, setting.window)
    words, targets = (zipf_words(setting.num_words, shape, seed).to(device) for seed in (0, 1))
    state: list[Any] = [None]
    dtype = getattr(torch, setting.precision)

    def autocast() -> Any:
        return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)

    # Without loss scaling: it takes a negligible part of the time, and gradients are not used further.
    if name == PUBLISHED:
        published = PublishedModel(setting.num_words, setting.hidden, setting.layers, setting.dropout).to(device)
        inputs, labels = words.T.contiguous(), targets.T.flatten()

        def published_step() -> Tensor:
            published.zero_grad()
            with autocast():
                scores, after = published(inputs, state[0])
                loss = F.nll_loss(scores, labels)
            state[0] = tuple(part.detach() for part in after)
            loss.backward()
            nn.utils.clip_grad_norm_(published.parameters(), 0.25)
            for parameter in published.parameters():
                assert parameter.grad is not None
                parameter.data.add_(parameter.grad, alpha=-1.0)
            return loss.detach()

        return TrainingStep(published_step, published, _core_operations(published.rnn, setting, 1))

    option, *overrides = name.split()
    option, _, loss_name = option.partition(":")
    config = compose_config(
        *(f"model={option}", f"model.num_layers={setting.layers}", f"model.dropout={setting.dropout}"),
        *([] if option == "small" else [f"model.hidden_dim={setting.hidden}"]),
        *([f"model/loss={loss_name}"] if loss_name else []),
        *("allocation=random", *overrides),
    )
    vocabulary = zipf_vocabulary(setting.num_words)
    model = build_model(config, build_allocation(config, vocabulary), vocabulary).to(device).train()
    optimizer = instantiate(config.optimizer)(model.parameters())

    def step() -> Tensor:
        with autocast():
            losses, after = model(words, targets, state[0])
        state[0] = detach_state(after)
        optimizer.zero_grad()
        loss = losses.sum() / setting.batch
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        return loss.detach()

    is_fused = isinstance(model.core, FusedCore)
    layers = model.core.layers if is_fused else None
    operations = _core_operations(layers, setting, model.embedding.steps_per_word)
    return TrainingStep(step, model, operations, config.model.embedding.get("compression"))


def _core_operations(layers: Any, setting: Setting, steps_per_word: int) -> float:
    """Operations of recurrent layers, which the counter does not know: two per weight and step, and twice as many in
    the backward pass."""
    if layers is None:
        return 0.0
    weights = sum(parameter.numel() for parameter in layers.parameters() if parameter.ndim == 2)
    return 6.0 * weights * setting.batch * setting.window * steps_per_word


def _product_operations(gradient: Any, left: Any, right: Any, **options: Any) -> int:
    """Operations of adding a product in place, which the counter does not know, by the shapes of its operands."""
    return 2 * left[0] * left[1] * right[1]
