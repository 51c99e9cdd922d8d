"""The language model: an embedding, a recurrent core, and an output that shares the allocation of the embedding.

LightRNN consists of the multi-component embedding and output and an LSTM (LightRNN, section 3.1).  The ordinary model
has the full embedding and output instead.
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_flag, check_number, check_probability
from lightrnn_pl.nn.cores import Core, State, reset_state
from lightrnn_pl.nn.dropout import Dropout, word_dropout
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.losses import ExactLoss, Loss
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.types import Hidden, Words, WordScores


class LanguageModel(nn.Module):
    """Predicts each word of a stream from the preceding words.

    Args:
        embedding: Maps words to step vectors.
        core: Maps step vectors to hidden states.
        output: Maps hidden states to word probabilities; must have the same allocation object as ``embedding``.
        loss: The training loss; None means the exact negative log-likelihood.
        input_dropout: Dropout probability of the step vectors.
        output_dropout: Dropout probability of the hidden states before the output.
        locked_dropout: Whether both have the same mask in all steps of a window.
        word_dropout: Dropout probability of whole words at the input.
        init_scale: Parameters are initialized uniformly in [-init_scale, init_scale], unless a part has its own
            initialization; None skips the initialization, for parameters that are loaded afterwards.
        tied: Whether the output shares the vectors of the embedding.  If they do not have the size of the hidden
            state, outputs with one vector per word project the hidden state to this size.

    Raises:
        ValueError: If the parts do not fit together, or an argument is out of range.
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
        locked_dropout: bool = False,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if embedding.allocation is not output.allocation:
            raise ValueError("embedding and output must share one WordAllocation object, got two different ones")
        check_probability("model.input_dropout", input_dropout)
        check_probability("model.output_dropout", output_dropout)
        check_probability("model.word_dropout", word_dropout)
        if init_scale is not None:
            check_number("model.init_scale", init_scale, at_least=0)
        check_flag("model.tied", tied)
        self.embedding = embedding
        self.core = core
        self.output = output
        self.loss = loss or ExactLoss()
        self.loss.check(output)
        self.input_dropout = Dropout(input_dropout, locked_dropout)
        self.output_dropout = Dropout(output_dropout, locked_dropout)
        self.word_dropout = word_dropout
        if init_scale is not None:
            for part in (self.embedding, self.core, self.output, self.loss):
                part.initialise(init_scale)
        if tied:
            output.tie(embedding)
            if init_scale is not None:
                output.initialise_projection(init_scale)

    @property
    def allocation(self) -> WordAllocation:
        """The allocation that embedding and output share."""
        return self.embedding.allocation

    @property
    def num_parameters(self) -> int:
        """Number of parameters, counted as in the papers, without the word table."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def num_bytes(self) -> dict[str, int]:
        """Size in bytes of the ``parameters``, and of the ``tables`` that are not trained.

        The tables are the word table and, for example, the maps of words to shared vectors.
        """
        parameters = sum(parameter.numel() * parameter.element_size() for parameter in self.parameters())
        # With one code per word, no word table is needed.
        tables = self.allocation.num_bytes if self.allocation.num_components > 1 else 0
        return {"parameters": parameters, "tables": tables + self.embedding.table_bytes + self.output.table_bytes}

    def hidden(
        self,
        words: Words,
        targets: Words,
        state: State | None = None,
        reset: Bool[Tensor, " B"] | None = None,
    ) -> tuple[Hidden, State]:
        """Hidden states that predict ``targets``, k per word, and the state after the window.

        Args:
            words: The input words, (B, T).
            targets: The words that follow them, (B, T); their true codes are used as inputs (teacher forcing).
            state: The state after the previous window; None means zeros.
            reset: True for streams whose state is first set to zero, (B,).
        """
        hidden, state = self.core_states(words, targets, state, reset)
        return self.output_dropout(hidden), state

    def core_states(
        self,
        words: Words,
        targets: Words,
        state: State | None = None,
        reset: Bool[Tensor, " B"] | None = None,
    ) -> tuple[Hidden, State]:
        """The same without ``output_dropout``."""
        if reset is not None:
            state = reset_state(state, reset)
        vectors = self.embedding(words, targets)
        if self.training and self.word_dropout:
            vectors = word_dropout(vectors, words, targets, self.allocation.num_words, self.word_dropout)
        return self.core(self.input_dropout(vectors), state)

    def forward(
        self,
        words: Words,
        targets: Words,
        state: State | None = None,
        reset: Bool[Tensor, " B"] | None = None,
    ) -> tuple[WordScores, State]:
        """The training loss of each target, (B, T), and the state after the window; see :meth:`hidden`."""
        hidden, state = self.hidden(words, targets, state, reset)
        return self.loss(self.output, hidden, targets), state

    def score(
        self,
        words: Words,
        targets: Words,
        state: State | None = None,
        reset: Bool[Tensor, " B"] | None = None,
    ) -> tuple[WordScores, State]:
        """The natural-log probability of each target, (B, T), and the state after the window; see :meth:`hidden`."""
        hidden, state = self.hidden(words, targets, state, reset)
        return self.output.log_probability(hidden, targets), state

    def step(self, vectors: Float[Tensor, "N D"], state: State | None = None) -> tuple[Float[Tensor, "N H"], State]:
        """A single step of each stream: the hidden state that predicts the next code, and the state after the step.

        Args:
            vectors: Step vectors, as returned by ``embedding.first_step`` or ``embedding.code_step``.
            state: The state after the previous step; None means zeros.
        """
        hidden, state = self.core(self.input_dropout(vectors[:, None]), state)
        return self.output_dropout(hidden[:, 0]), state

    def read_code(self, axis: int, codes: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N H"], State]:
        """The hidden state that predicts code ``axis`` + 1 of a word, and the state after the step.

        With one step per word, both are those that predicted code ``axis``.

        Args:
            axis: The axis of the codes to read.
            codes: The code of each stream.
            state: The state after the step that predicted ``codes``.
        """
        if self.embedding.steps_per_word == 1:
            return self.output_dropout(self.core.last_hidden(state)), state
        return self.step(self.embedding.code_step(axis, codes), state)
