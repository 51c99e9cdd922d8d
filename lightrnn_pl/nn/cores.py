"""Recurrent cores with a common state type; each processes all steps in one fused call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.checks import check_count, check_probability
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
        dropout: Dropout probability between layers; recurrent connections have no dropout (Zaremba et al. 2014).

    Raises:
        ValueError: If an argument is out of range.
    """

    layers: nn.RNNBase

    fast_in_bfloat16: ClassVar[bool] = False
    """Whether a CPU with bfloat16 instructions trains these layers faster in bfloat16 than in float32."""

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        check_count("model.hidden_dim", hidden_dim)
        check_count("model.num_layers", num_layers)
        check_probability("model.dropout", dropout)
        self.hidden_dim = hidden_dim
        layer_dropout = dropout if num_layers > 1 else 0.0
        self.layers = self._build_layers(input_dim, hidden_dim, num_layers, layer_dropout)

    @abstractmethod
    def _build_layers(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.RNNBase:
        """The stacked layers, batch first."""

    def forward(self, inputs: StepVectors, state: State | None = None) -> tuple[Hidden, State]:
        """Hidden state after each step (B, S, H), and the state after the last step; None as ``state`` means zeros."""
        carried = state if state is None or len(state) > 1 else state[0]
        hidden, after = self.layers(inputs, carried)
        return hidden, after if isinstance(after, tuple) else (after,)

    def last_hidden(self, state: State) -> Float[Tensor, "N H"]:
        """The hidden state after the last step, which the state contains."""
        return state[0][-1]


class LSTMCore(Core):
    """Long short-term memory, with the state (h, c)."""

    fast_in_bfloat16: ClassVar[bool] = True

    @override
    def _build_layers(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.RNNBase:
        return nn.LSTM(input_dim, hidden_dim, num_layers, dropout=dropout, batch_first=True)


class GRUCore(Core):
    """Gated recurrent unit, with the state (h,)."""

    @override
    def _build_layers(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.RNNBase:
        return nn.GRU(input_dim, hidden_dim, num_layers, dropout=dropout, batch_first=True)


class RNNCore(Core):
    """The simple recurrent network of LightRNN, Equation 1, with tanh and the state (h,)."""

    @override
    def _build_layers(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.RNNBase:
        return nn.RNN(input_dim, hidden_dim, num_layers, dropout=dropout, batch_first=True)
