"""Two-level hierarchical softmax: the class of a word, then the word in its class (Goodman 2001; HSM in both papers).

    P(w) = P(class of w) P(w | class of w) = softmax(S h + s)[class of w] softmax(Y_c h + y_c)[w among its class]

A word needs about 2 sqrt(V) logits instead of V.  The classes are defined in
:mod:`~lightrnn_pl.nn.outputs.classes`.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.outputs.classes import MissingSourceError, WordClasses
from lightrnn_pl.nn.outputs.vector_sources import MatrixRows
from lightrnn_pl.nn.outputs.words_in_row import log_probability_in_group
from lightrnn_pl.types import Hidden, Words, WordScores
from lightrnn_pl.vocabulary import Vocabulary


class HierarchicalOutput(Output):
    """For k = 1: V word vectors of size H, ordered by class, and one vector per class, all with biases.

    The classes are saved with the weights, so a loaded model needs neither a file of classes nor the training text.  If
    they are missing when the layer is created, it can only be used after ``load_state_dict``.

    This layer is designed for CPUs.  It computes one small matrix product for each class that occurs in a batch, in a
    Python loop, and copies the number of positions per class to the host in each step.  A GPU therefore waits for the
    host and runs hundreds of small kernels per step, and a full softmax over a vocabulary of medium size is as fast.
    On a GPU, use ``model/output=adaptive`` or ``model/output=slim`` instead.

    Args:
        allocation: The word allocation, k = 1.
        hidden_dim: H.
        vocabulary: The words and their counts, on which the classes are based.
        classes: The strategy that creates the classes.
        num_classes: C; None means the default of ``classes``.
        tokens: Word ids of the training text, for ``classes`` that need it; None if it is not available.

    Raises:
        ValueError: If words have more than one code, or the number of classes is not possible.
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
        self.register_buffer("word_classes", word_classes.to(_class_dtype(count)))
        # The index of each word in its class, and the words in the order of their vectors; computed from the classes.
        self.register_buffer("ranks", None, persistent=False)
        self.register_buffer("order", None, persistent=False)
        self._update_layout()

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_weight)

    @property
    @override
    def table_bytes(self) -> int:
        return sum(table.numel() * table.element_size() for table in (self.word_classes, self.ranks, self.order))

    @override
    def initialise(self, scale: float) -> None:
        """Initialize the parameters.

        Raises:
            MissingSourceError: If the classes could not be created because a file or the training text is missing.
        """
        self._require_classes()
        super().initialise(scale)

    @override
    def tie(self, embedding: Embedding) -> None:
        """Not supported, because the vectors are ordered by class.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "HierarchicalOutput cannot share its vectors with an embedding, because they are ordered by class; set "
            "model.tied=false, or use another output, such as model/output=full with model/embedding=full"
        )

    @override
    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        self._require_classes()
        flat, words = hidden.flatten(0, 1), targets.flatten()
        classes = self.word_classes[words].long()
        log_class = -F.cross_entropy(F.linear(flat, self.class_weight, self.class_bias), classes, reduction="none")
        log_word = log_probability_in_group(
            flat, (self.weight,), self.bias, classes, self.ranks[words].long(), self._spans, MatrixRows()
        )
        return (log_class + log_word).view(targets.shape)

    @override
    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        self._require_classes()
        log_class = F.linear(hidden, self.class_weight, self.class_bias).log_softmax(-1)
        by_class = [
            F.linear(hidden, self.weight[span], self.bias[span]).log_softmax(-1) + log_class[:, number, None]
            for number, span in enumerate(self._spans)
        ]
        return torch.cat(by_class, 1)[:, self._positions()]

    @torch.no_grad()
    @override
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        """Log-probabilities and ids of the k most likely words, best first.

        Classes are searched in the order of descending probability.  A word is never more likely than its class, so a
        class is skipped if it is less likely than the k best words so far.
        """
        self._require_classes()
        k = min(k, self.num_words)
        log_class = F.linear(hidden, self.class_weight, self.class_bias).log_softmax(-1)
        best = log_class.new_full((len(hidden), 0), 0.0)
        words = torch.zeros(len(hidden), 0, dtype=torch.int64, device=hidden.device)
        if not len(hidden):
            return best.new_zeros(0, k), words.new_zeros(0, k)
        for number in log_class.amax(0).argsort(descending=True).tolist():
            bound = log_class[:, number, None]
            if best.shape[1] == k and (bound <= best[:, -1:]).all():
                continue
            span = self._spans[number]
            members = F.linear(hidden, self.weight[span], self.bias[span]).log_softmax(-1) + bound
            values, indices = members.topk(min(k, members.shape[1]), dim=-1)
            best, words = torch.cat([best, values], 1), torch.cat([words, self.order[span].long()[indices]], 1)
            best, chosen = best.topk(min(k, best.shape[1]), dim=-1)
            words = words.gather(1, chosen)
        return best, words

    @torch.no_grad()
    @override
    def word_vectors(self) -> Float[Tensor, "V H"]:
        """The vector of each word plus the vector of its class."""
        self._require_classes()
        return self.weight[self._positions()] + self.class_weight[self.word_classes.long()]

    def _positions(self) -> Int[Tensor, " V"]:
        """The index of each word in ``order``."""
        starts = self.order.new_tensor([span.start for span in self._spans])
        return (starts[self.word_classes.long()] + self.ranks).long()

    def _update_layout(self) -> None:
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
            self._update_layout()


def _class_dtype(num_values: int) -> torch.dtype:
    return torch.int16 if num_values <= torch.iinfo(torch.int16).max else torch.int32
