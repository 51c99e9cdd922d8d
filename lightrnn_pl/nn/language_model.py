"""A language model is an embedding, a recurrent core and an output that share one word table.

LightRNN is the two multi-component layers around an LSTM (LightRNN, section 3.1); the ordinary model is the two full
layers.  Knows nothing of text, batches' origin, or training.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_probability
from lightrnn_pl.nn.cores import Core, State, reset_state
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.losses import ExactLoss, Loss
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.types import Hidden, Words, WordScores


class LanguageModel(nn.Module):
    """Predicts each word of a stream from the words before it.

    Args:
        embedding: Words to step vectors.
        core: Step vectors to hidden states.
        output: Hidden states to word probabilities; must hold the very same word table as ``embedding``.
        loss: What training minimises; None means the exact negative log-likelihood.
        input_dropout: Probability of zeroing a unit of a step vector.
        output_dropout: The same before the output layer.
        init_scale: Parameters start uniform in [-init_scale, init_scale], unless their part knows better; None leaves
            them to be loaded.
        tied: The output uses the embedding's vectors, where both have the same shape.
    """

    def __init__(
        self,
        embedding: Embedding,
        core: Core,
        output: Output,
        loss: Loss | None = None,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
        init_scale: float | None = 0.1,
        tied: bool = False,
    ) -> None:
        super().__init__()
        if embedding.allocation is not output.allocation:
            raise ValueError("embedding and output must share one WordAllocation object, got two")
        check_probability("model.input_dropout", input_dropout)
        check_probability("model.output_dropout", output_dropout)
        self.embedding = embedding
        self.core = core
        self.output = output
        self.loss = loss or ExactLoss()
        self.loss.check(output)
        self.input_dropout = nn.Dropout(input_dropout)
        self.output_dropout = nn.Dropout(output_dropout)
        if init_scale is not None:
            for part in (self.embedding, self.core, self.output, self.loss):
                part.initialise(init_scale)
        if tied:
            output.tie(embedding)

    @property
    def allocation(self) -> WordAllocation:
        """The word table that embedding and output share."""
        return self.embedding.allocation

    @property
    def num_parameters(self) -> int:
        """Trained numbers, counted as the papers do: without the word table."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def num_bytes(self) -> dict[str, int]:
        """Bytes by what they hold: ``parameters`` as stored now, ``tables`` for what is looked up and not trained: the
        word table and the maps of shared vectors."""
        parameters = sum(parameter.numel() * parameter.element_size() for parameter in self.parameters())
        # With one code a word the word table says nothing that the ids do not.
        tables = self.allocation.num_bytes if self.allocation.num_components > 1 else 0
        return {"parameters": parameters, "tables": tables + self.embedding.table_bytes + self.output.table_bytes}

    def hidden(
        self,
        words: Words,
        targets: Words,
        state: State | None = None,
        reset: Bool[Tensor, " B"] | None = None,
    ) -> tuple[Hidden, State]:
        """Hidden states that predict ``targets``, k a word, and the state after the window.

        Args:
            words: The words read, (B, T).
            targets: The words that follow them, (B, T); their true codes are fed (teacher forcing).
            state: The state after the window before; None means zeros.
            reset: Streams whose state is set to zero first, (B,).
        """
        if reset is not None:
            state = reset_state(state, reset)
        hidden, state = self.core(self.input_dropout(self.embedding(words, targets)), state)
        return self.output_dropout(hidden), state

    def forward(
        self,
        words: Words,
        targets: Words,
        state: State | None = None,
        reset: Bool[Tensor, " B"] | None = None,
    ) -> tuple[WordScores, State]:
        """The training loss of each target, (B, T), and the state after the window."""
        hidden, state = self.hidden(words, targets, state, reset)
        return self.loss(self.output, hidden, targets), state

    def score(
        self,
        words: Words,
        targets: Words,
        state: State | None = None,
        reset: Bool[Tensor, " B"] | None = None,
    ) -> tuple[WordScores, State]:
        """The exact natural-log probability of each target, (B, T), and the state after the window."""
        hidden, state = self.hidden(words, targets, state, reset)
        return self.output.log_probability(hidden, targets), state

    def step(self, vectors: Float[Tensor, "N D"], state: State | None = None) -> tuple[Float[Tensor, "N H"], State]:
        """One step of every stream: the hidden state that predicts the next code, and the state after the step.

        Args:
            vectors: What is read, from ``embedding.first_step`` or ``embedding.code_step``.
            state: The state after the step before; None means zeros.
        """
        hidden, state = self.core(self.input_dropout(vectors[:, None]), state)
        return self.output_dropout(hidden[:, 0]), state
