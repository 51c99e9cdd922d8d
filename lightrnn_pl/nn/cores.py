"""Recurrent cores with a common state type; each processes all steps in one fused call per layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.checks import check_count, check_probability
from lightrnn_pl.nn.dropout import Dropout, dropout
from lightrnn_pl.nn.linear_scan import linear_scan
from lightrnn_pl.nn.part import Part
from lightrnn_pl.types import Hidden, StepVectors

State = tuple[Tensor, ...]
"""The recurrent state after a window: tensors of shape (layers, B, H)."""


def reset_state(state: State | None, reset: Bool[Tensor, " B"]) -> State | None:
    """The state with zeros for the streams in which ``reset`` is true."""
    if state is None:
        return None
    return tuple(part.masked_fill(reset[None, :, None], 0.0) for part in state)


def detach_state(state: State) -> State:
    """The state detached from the graph, for truncated backpropagation through time."""
    return tuple(part.detach() for part in state)


class Core(Part, ABC):
    """Abstract: a causal sequence model, in which hidden state s depends on inputs 0..s and on the initial state.

    Args:
        input_dim: D.
        hidden_dim: H.
        num_layers: Number of stacked layers.
        dropout: Dropout probability between layers (Zaremba et al. 2014).
        locked_dropout: Whether this dropout has the same mask in all steps of a window.
        weight_dropout: Dropout probability of the recurrent weights, drawn once per window (DropConnect; Merity et al.
            2018, section 2).

    Raises:
        ValueError: If an argument is out of range.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)
    """The name of each tensor of the state."""

    fast_in_bfloat16: ClassVar[bool] = False
    """Whether a CPU with bfloat16 instructions trains these layers faster in bfloat16 than in float32."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        locked_dropout: bool = False,
        weight_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("model.hidden_dim", hidden_dim)
        check_count("model.num_layers", num_layers, at_most=1000)
        check_probability("model.dropout", dropout)
        check_probability("model.weight_dropout", weight_dropout)
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.dropout = Dropout(dropout, locked_dropout)
        self.weight_dropout = weight_dropout
        self.layers = self._make_layers(input_dim)

    @abstractmethod
    def _make_layers(self, input_dim: int) -> nn.Module:
        """The trained layers, which must read vectors of size ``input_dim``."""

    @abstractmethod
    def forward(self, inputs: StepVectors, state: State | None = None) -> tuple[Hidden, State]:
        """Hidden state after each step (B, S, H), and the state after the last step; None as ``state`` means zeros."""

    def last_hidden(self, state: State) -> Float[Tensor, "N H"]:
        """The hidden state after the last step, which the state contains."""
        return state[0][-1]

    def zero_state(self, inputs: StepVectors) -> State:
        """The initial state for the batch size, type and device of ``inputs``."""
        return (inputs.new_zeros(self.num_layers, len(inputs), self.hidden_dim),) * len(self.state_names)


class FusedCore(Core):
    """Abstract: the layers of a module of PyTorch that computes all steps of a layer in one call."""

    layers: nn.RNNBase

    _module: ClassVar[Callable[..., nn.RNNBase]]
    """The class of the module."""

    @override
    def _make_layers(self, input_dim: int) -> nn.RNNBase:
        return self._module(input_dim, self.hidden_dim, self.num_layers, batch_first=True)

    @abstractmethod
    def _layer(self, *arguments: Any) -> tuple[Tensor, ...]:
        """The function that the module calls: outputs and states of given weights."""

    @override
    def forward(self, inputs: StepVectors, state: State | None = None) -> tuple[Hidden, State]:
        if self.training and (self.num_layers > 1 or self.weight_dropout):
            return self._layer_by_layer(inputs, self.zero_state(inputs) if state is None else state)
        carried = state if state is None or len(state) > 1 else state[0]
        hidden, after = self.layers(inputs, carried)
        return hidden, after if isinstance(after, tuple) else (after,)

    def _layer_by_layer(self, inputs: StepVectors, state: State) -> tuple[Hidden, State]:
        """The same in one call per layer, for training.

        cuDNN has faster kernels for single layers in float16, with at most 1,024 units (a multiple of 128) and a batch
        of at most 128 (a multiple of 8; PyTorch's native/cudnn/RNN.cpp).  On a CPU, PyTorch computes one layer at a
        time anyway, and our dropout is faster than the one between its layers.
        """
        hidden, after = inputs, []
        for number, parameters in enumerate(self.layers.all_weights):
            if number:
                hidden = self.dropout(hidden)
            weights = self._with_dropped_weights(*parameters) if self.weight_dropout else parameters
            before: Any = tuple(part[number : number + 1] for part in state)
            # Biases, one layer, no dropout, training, one direction, batch first.
            options = (True, 1, 0.0, True, False, True)
            hidden, *parts = self._layer(hidden, before if len(before) > 1 else before[0], weights, *options)
            after.append(parts)
        return hidden, tuple(torch.cat(parts) for parts in zip(*after, strict=True))

    def _with_dropped_weights(self, inputs: Tensor, recurrent: Tensor, *biases: Tensor) -> list[Tensor]:
        """The weights of a layer with dropout of the recurrent ones, in one contiguous block, as cuDNN expects them."""
        weights = (inputs, dropout(recurrent, self.weight_dropout), *biases)
        parts = torch.cat([part.flatten() for part in weights]).split([part.numel() for part in weights])
        return [part.view_as(like) for part, like in zip(parts, weights, strict=True)]


class LSTMCore(FusedCore):
    """Long short-term memory, with the state (h, c)."""

    state_names: ClassVar[tuple[str, ...]] = ("h", "c")
    fast_in_bfloat16: ClassVar[bool] = True
    _module: ClassVar[Callable[..., nn.RNNBase]] = nn.LSTM

    @override
    def _layer(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.lstm(*arguments)


class GRUCore(FusedCore):
    """Gated recurrent unit, with the state (h,)."""

    _module: ClassVar[Callable[..., nn.RNNBase]] = nn.GRU

    @override
    def _layer(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.gru(*arguments)


class RNNCore(FusedCore):
    """The simple recurrent network of LightRNN, Equation 1, with tanh and the state (h,)."""

    _module: ClassVar[Callable[..., nn.RNNBase]] = nn.RNN

    @override
    def _layer(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.rnn_tanh(*arguments)


class MinGRUCore(Core):
    """The minimal GRU (Feng et al. 2024, "Were RNNs All We Needed?", section 3.1), with the state (h,).

        h_s = (1 - z_s) h_(s-1) + z_s c_s        z_s = sigmoid(W_z x_s + b_z)        c_s = W_c x_s + b_c

    The gate and the candidate do not depend on the previous hidden state, so a GPU computes all steps of a layer in
    log2(S) sequential steps instead of S.
    """

    layers: nn.ModuleList

    @override
    def _make_layers(self, input_dim: int) -> nn.ModuleList:
        if self.weight_dropout:
            raise ValueError(
                f"model.weight_dropout={self.weight_dropout} needs recurrent weights, which {type(self).__name__} does "
                "not have; set it to 0"
            )
        sizes = (input_dim, *[self.hidden_dim] * (self.num_layers - 1))
        return nn.ModuleList(nn.Linear(size, 2 * self.hidden_dim) for size in sizes)

    @override
    def forward(self, inputs: StepVectors, state: State | None = None) -> tuple[Hidden, State]:
        (before,) = self.zero_state(inputs) if state is None else state
        hidden, after = inputs, []
        for number, layer in enumerate(self.layers):
            if number:
                hidden = self.dropout(hidden)
            projected = layer(hidden)
            # Rounding errors of half precision would accumulate over the steps.
            wide = torch.promote_types(projected.dtype, torch.float32)
            logits, candidate = projected.to(wide).chunk(2, -1)
            states = linear_scan(F.sigmoid(-logits), F.sigmoid(logits) * candidate, before[number].to(wide))
            hidden = states.to(projected.dtype)
            after.append(hidden[:, -1])
        return hidden, (torch.stack(after),)
