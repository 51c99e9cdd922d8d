"""Recurrent cores behind one state type; each is one fused call over all steps, whatever the steps stand for."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Bool
from torch import Tensor, nn

from lightrnn_pl.checks import check_count, check_probability
from lightrnn_pl.nn.part import Part
from lightrnn_pl.types import Hidden, StepVectors

State = tuple[Tensor, ...]
"""Everything a core carries from one window to the next: tensors of shape (layers, B, H)."""


def reset_state(state: State | None, reset: Bool[Tensor, " B"]) -> State | None:
    """The state with the streams where ``reset`` is true set back to zero."""
    if state is None or not reset.any():
        return state
    keep = (~reset)[None, :, None]
    return tuple(part * keep for part in state)


def detach_state(state: State) -> State:
    """The state cut off from the graph that made it: truncated backpropagation through time ends here."""
    return tuple(part.detach() for part in state)


class Core(Part, ABC):
    """A causal sequence model: hidden state s depends on inputs 0..s and on the state handed in.

    Args:
        input_dim: D.
        hidden_dim: H.
        num_layers: How many layers are stacked.
        dropout: Probability of zeroing a unit between layers; nothing is dropped over time (Zaremba et al. 2014).
    """

    layers: nn.RNNBase

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        for name, value in (("hidden_dim", hidden_dim), ("num_layers", num_layers)):
            check_count(f"model.{name}", value)
        check_probability("model.dropout", dropout)
        self.hidden_dim = hidden_dim
        between = dropout if num_layers > 1 else 0.0
        self.layers = self._stack(input_dim, hidden_dim, num_layers, between)

    @abstractmethod
    def _stack(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.RNNBase:
        """The stacked layers, batch first."""

    def forward(self, inputs: StepVectors, state: State | None = None) -> tuple[Hidden, State]:
        """Hidden state after each step (B, S, H), and the state after the last; no state means zeros."""
        carried = state if state is None or len(state) > 1 else state[0]
        hidden, after = self.layers(inputs, carried)
        return hidden, after if isinstance(after, tuple) else (after,)


class LSTMCore(Core):
    """Long short-term memory; its state is (h, c)."""

    def _stack(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.RNNBase:
        return nn.LSTM(input_dim, hidden_dim, num_layers, dropout=dropout, batch_first=True)


class GRUCore(Core):
    """Gated recurrent unit; its state is (h,)."""

    def _stack(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.RNNBase:
        return nn.GRU(input_dim, hidden_dim, num_layers, dropout=dropout, batch_first=True)


class RNNCore(Core):
    """The plain recurrent network of LightRNN, Equation 1, with tanh; its state is (h,)."""

    def _stack(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> nn.RNNBase:
        return nn.RNN(input_dim, hidden_dim, num_layers, dropout=dropout, batch_first=True)
