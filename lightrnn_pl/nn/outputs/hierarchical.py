"""Two-level hierarchical softmax: first the class of a word, then the word in its class (Goodman 2001; HSM in both
papers, after Kim et al. 2016).

    P(w) = P(class of w) P(w | class of w) = softmax(S h + s)[class of w] softmax(Y_c h + y_c)[w among its class]

A word costs about 2 sqrt(V) scores instead of V.  Knows the classes, not how they came about (``classes``).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.classes import MissingSourceError, WordClasses
from lightrnn_pl.types import Hidden, Words, WordScores
from lightrnn_pl.vocabulary import Vocabulary


class HierarchicalOutput(Output):
    """V x H word vectors, laid out class by class, and one vector a class, all with biases; for k = 1.

    The classes are saved with the weights, so that a loaded model needs neither a file of classes nor the training
    text: where a strategy does not find what it needs, the layer waits for ``load_state_dict``, and refuses to start or
    to compute before.

    Designed for processors.  Words are scored in a Python loop over the classes that occur in a batch, one small matrix
    product each; how many positions each class has is read back from the device every step.  A GPU therefore waits for
    the host once a step and runs some hundreds of small kernels, of which it would do all at once what a full softmax
    over a vocabulary of middling size needs: there, ``model/output=adaptive`` or ``slim`` are the better choice.

    Args:
        allocation: The word table, k = 1.
        hidden_dim: H.
        vocabulary: Words and counts that the classes are made from.
        classes: The way to make them.
        num_classes: C; None leaves the choice to ``classes``.
        tokens: Word ids of the training text, for ``classes`` that look at it; None where there is none at hand.

    Raises:
        ValueError: If the words are spelled with more than one code, or there cannot be so many classes.
    """

    word_classes: Tensor
    ranks: Tensor
    order: Tensor

    def __init__(
        self,
        allocation: WordAllocation,
        hidden_dim: int,
        vocabulary: Vocabulary,
        classes: WordClasses,
        num_classes: int | None = None,
        tokens: Any = None,
    ) -> None:
        super().__init__(allocation, hidden_dim)
        self._require_one_code()
        self.num_words = allocation.num_words
        self._missing: str | None = None
        try:
            word_classes = classes(vocabulary, num_classes, tokens)
        except MissingSourceError as error:
            self._missing = str(error)
            word_classes = torch.zeros(0, dtype=torch.int64)
        count = 0 if self._missing else int(word_classes.max()) + 1
        self.weight = nn.Parameter(torch.zeros(self.num_words, hidden_dim))
        self.bias = nn.Parameter(torch.zeros(self.num_words))
        self.class_weight = nn.Parameter(torch.zeros(count, hidden_dim))
        self.class_bias = nn.Parameter(torch.zeros(count))
        self.register_buffer("word_classes", word_classes.to(_small(count)))
        # A word's place among those of its class, and the words in the order of their vectors; both follow from the
        # classes.
        self.register_buffer("ranks", None, persistent=False)
        self.register_buffer("order", None, persistent=False)
        self._derive_layout()

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_weight)

    @property
    def table_bytes(self) -> int:
        """See :class:`Part`: the classes, and both ways between words and places."""
        return sum(table.numel() * table.element_size() for table in (self.word_classes, self.ranks, self.order))

    def initialise(self, scale: float) -> None:
        """See :class:`Part`.

        Raises:
            MissingSourceError: If the classes are made from a file or a text that is not there.
        """
        self._require_classes()
        super().initialise(scale)

    def tie(self, embedding: Embedding) -> None:
        """Refused: the layer keeps its vectors in the order of its classes."""
        raise ValueError(
            "HierarchicalOutput can share its vectors with no embedding, as they stand class by class; set "
            "model.tied=false, or choose another output, such as model/output=full with model/embedding=full"
        )

    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        """See :class:`Output`."""
        self._require_classes()
        flat, words = hidden.flatten(0, 1), targets.flatten()
        classes = self.word_classes[words].long()
        of_class = -F.cross_entropy(F.linear(flat, self.class_weight, self.class_bias), classes, reduction="none")
        # Positions of one class side by side: one matrix product a class, no copy of its vectors.
        by_class = classes.argsort(stable=True)
        pieces = self._pieces(classes.bincount(minlength=self.num_classes).tolist())
        # In the weights' precision, because autocast does not reach into the backward pass below.
        with torch.autocast(flat.device.type, enabled=False):
            in_class = _InClass.apply(
                flat[by_class].to(self.weight.dtype), self.weight, self.bias, self.ranks[words[by_class]].long(), pieces
            )
        in_class = torch.empty_like(in_class).index_copy(0, by_class, in_class)
        return (of_class + in_class).view(targets.shape)

    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """See :class:`Output`."""
        self._require_classes()
        of_class = F.linear(hidden, self.class_weight, self.class_bias).log_softmax(-1)
        by_class = [
            F.linear(hidden, self.weight[span], self.bias[span]).log_softmax(-1) + of_class[:, number, None]
            for number, span in enumerate(self._spans)
        ]
        return torch.cat(by_class, 1)[:, self.order.long().argsort()]

    @torch.no_grad()
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        """Log-probabilities and ids of the k most likely words, best first; scores are held a class at a time.

        No word is more likely than its class, so a class that is less likely than the k words found so far is not
        opened.
        """
        self._require_classes()
        k = min(k, self.num_words)
        of_class = F.linear(hidden, self.class_weight, self.class_bias).log_softmax(-1)
        best = of_class.new_full((len(hidden), 0), 0.0)
        words = torch.zeros(len(hidden), 0, dtype=torch.int64, device=hidden.device)
        if not len(hidden):
            return best.new_zeros(0, k), words.new_zeros(0, k)
        for number in of_class.amax(0).argsort(descending=True).tolist():
            bound = of_class[:, number, None]
            if best.shape[1] == k and (bound <= best[:, -1:]).all():
                continue
            span = self._spans[number]
            scores = F.linear(hidden, self.weight[span], self.bias[span]).log_softmax(-1) + bound
            values, places = scores.topk(min(k, scores.shape[1]), dim=-1)
            best, words = torch.cat([best, values], 1), torch.cat([words, self.order[span].long()[places]], 1)
            best, chosen = best.topk(min(k, best.shape[1]), dim=-1)
            words = words.gather(1, chosen)
        return best, words

    @torch.no_grad()
    def word_vectors(self) -> Float[Tensor, "V H"]:
        """See :class:`Output`: what a word is scored with in its class, plus its class's."""
        self._require_classes()
        return self.weight[self.order.long().argsort()] + self.class_weight[self.word_classes.long()]

    def _pieces(self, counts: Sequence[int]) -> list[tuple[slice, slice]]:
        """Positions, sorted by class, and word vectors of each class that occurs."""
        stops = accumulate(counts)
        return [
            (slice(stop - count, stop), span)
            for count, stop, span in zip(counts, stops, self._spans, strict=True)
            if count
        ]

    def _derive_layout(self) -> None:
        classes = self.word_classes.long()
        if self._missing is None:
            sizes = classes.bincount(minlength=self.num_classes)
            assert len(classes) == self.num_words and len(sizes) == self.num_classes and sizes.all()
        else:
            sizes = classes
        order = classes.argsort(stable=True)
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[classes[order]]
        self.order, self.ranks = order.int(), ranks.int()
        stops = list(accumulate(sizes.tolist()))
        self._spans = [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]

    def _require_classes(self) -> None:
        if self._missing is not None:
            raise MissingSourceError(self._missing)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        classes, weight = state_dict.get(prefix + "word_classes"), state_dict.get(prefix + "class_weight")
        if self._missing is not None and classes is not None and weight is not None:
            self.word_classes = torch.zeros_like(classes, device=self.word_classes.device)
            self.class_weight.data = self.class_weight.new_zeros(weight.shape)
            self.class_bias.data = self.class_bias.new_zeros(len(weight))
            self._missing = None
        super()._load_from_state_dict(state_dict, prefix, *args)
        if classes is not None and classes.shape == self.word_classes.shape:
            self._derive_layout()


class _InClass(torch.autograd.Function):
    """Log-probability of words among those of their classes.

    By hand, because a slice of the vectors a class would have autograd make a gradient as large as all of them for
    each, or glue them together from pieces: one zero-filled gradient, written class by class, takes a third of the
    time (V = 300,000, H = 200, 700 positions).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "N H"],
        weight: Float[Tensor, "V H"],
        bias: Float[Tensor, " V"],
        ranks: Int[Tensor, " N"],
        pieces: list[tuple[slice, slice]],
    ) -> Float[Tensor, " N"]:
        own = hidden.new_empty(len(hidden))
        kept = []
        for positions, words in pieces:
            scores = torch.addmm(bias[words], hidden[positions], weight[words].T).log_softmax(-1)
            own[positions] = scores.gather(1, ranks[positions, None])[:, 0]
            if any(ctx.needs_input_grad):
                kept.append(scores)
        ctx.save_for_backward(hidden, weight, ranks, *kept)
        ctx.pieces = pieces
        return own

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, " N"]) -> tuple[Tensor | None, ...]:
        hidden, weight, ranks, *kept = ctx.saved_tensors
        of_hidden, of_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        of_bias = weight.new_zeros(len(weight))
        for (positions, words), scores in zip(ctx.pieces, kept, strict=True):
            # The gradient of the scores: one at the word itself, less the probabilities.
            of_scores = scores.exp().neg_()
            of_scores.scatter_add_(1, ranks[positions, None], torch.ones_like(of_scores[:, :1]))
            of_scores *= gradient[positions, None]
            of_weight[words] = of_scores.T @ hidden[positions]
            of_bias[words] = of_scores.sum(0)
            of_hidden[positions] = of_scores @ weight[words]
        return of_hidden, of_weight, of_bias, None, None


def _small(num_values: int) -> torch.dtype:
    return torch.int16 if num_values <= torch.iinfo(torch.int16).max else torch.int32
