"""Adaptive softmax: frequent words and clusters of rarer ones first, then the word in its cluster, whose vectors are
the shorter the rarer its words are (Grave et al. 2017).  PyTorch's implementation behind the contract.

Knows the words' counts, from which it takes the order that the method asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_counts, check_number
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.traceable import Traceable
from lightrnn_pl.types import Hidden, Words, WordScores
from lightrnn_pl.vocabulary import Vocabulary

_WHOLE = 2**26
"""Scores that ``top`` holds at once: 256 MiB of float32."""


class AdaptiveOutput(Output):
    """For k = 1: ``cutoffs[0]`` words and one score a cluster at full size, cluster i = 1, 2, ... through a projection
    to H / div_value^i.

    Args:
        allocation: The word table, k = 1.
        hidden_dim: H.
        vocabulary: Whose counts order the words.
        cutoffs: In words by descending count, where the first cluster begins, the second, and so on; None chooses V/16
            and V/4, about what is customary for 250,000 words, or one where H is too small for two.
        div_value: How much shorter the vectors of each cluster are than those before.

    Raises:
        ValueError: If the words are spelled with more than one code, or for cutoffs or a division that are impossible.
    """

    ranks: Tensor | None
    order: Tensor | None

    def __init__(
        self,
        allocation: WordAllocation,
        hidden_dim: int,
        vocabulary: Vocabulary,
        cutoffs: Sequence[int] | None = None,
        div_value: float = 4.0,
    ) -> None:
        super().__init__(allocation, hidden_dim)
        self._require_one_code()
        self.num_words = allocation.num_words
        if self.num_words < 2:
            raise ValueError(
                "model/output=adaptive keeps rare words apart from frequent ones, and the vocabulary has only "
                f"{self.num_words} word; use model/output=full, or a larger vocabulary"
            )
        why = " (model.hidden_dim), so that the words of a cluster have vectors at all"
        check_number("model.output.div_value", div_value, 1, hidden_dim, hint=why)
        chosen = self._choose(div_value) if cutoffs is None else check_counts("model.output.cutoffs", cutoffs)
        self._check(chosen, div_value)
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(hidden_dim, self.num_words, chosen, div_value)
        order = torch.from_numpy(np.argsort(-vocabulary.counts, kind="stable"))
        # A vocabulary as this package makes it is in order.
        sorted_already = bool((order == torch.arange(self.num_words)).all())
        self.register_buffer("order", None if sorted_already else order.int(), persistent=False)
        self.register_buffer("ranks", None if sorted_already else order.argsort().int(), persistent=False)

    @property
    def cutoffs(self) -> list[int]:
        """Where each cluster begins, in words by descending count."""
        return self.softmax.cutoffs[:-1]

    @property
    def table_bytes(self) -> int:
        """See :class:`Part`: the words' order, where it is not that of their ids."""
        return sum(t.numel() * t.element_size() for t in (self.ranks, self.order) if t is not None)

    def tie(self, embedding: Embedding) -> None:
        """Refused: vectors of several sizes are no embedding's."""
        raise ValueError(
            "AdaptiveOutput can share its vectors with no embedding, as those of rare words are shorter; set "
            "model.tied=false, or choose another output, such as model/output=full with model/embedding=full"
        )

    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        """See :class:`Output`."""
        words = targets.flatten()
        if self.ranks is not None:
            words = self.ranks[words].long()
        # PyTorch's layer mixes precisions under autocast and fails; it works in that of its weights.
        with torch.autocast(hidden.device.type, enabled=False):
            flat = hidden.flatten(0, 1).to(self.softmax.head.weight.dtype)
            return self.softmax(flat, words).output.view(targets.shape)

    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """See :class:`Output`."""
        with torch.autocast(hidden.device.type, enabled=False):
            by_rank = self.softmax.log_prob(hidden.to(self.softmax.head.weight.dtype))
        return by_rank if self.ranks is None else by_rank[:, self.ranks.long()]

    @torch.no_grad()
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        """Log-probabilities and ids of the k most likely words, best first; some positions at a time."""
        k = min(k, self.num_words)
        at_once = max(1, _WHOLE // self.num_words)
        with torch.autocast(hidden.device.type, enabled=False):
            flat = hidden.to(self.softmax.head.weight.dtype)
            parts = [self.softmax.log_prob(few).topk(k, dim=-1) for few in flat.split(at_once)]
        values, ranks = torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])
        return values, ranks if self.order is None else self.order[ranks].long()

    @torch.no_grad()
    def word_vectors(self) -> Float[Tensor, "V H"]:
        """See :class:`Output`: what a word is scored with in its cluster, back at full size, plus its cluster's."""
        head = self.softmax.head.weight
        vectors = [head[: self.softmax.shortlist_size]]
        for cluster, tail in zip(head[self.softmax.shortlist_size :], self.softmax.tail, strict=True):
            shorten, score = cast(nn.Sequential, tail)
            vectors.append(cast(Tensor, score.weight) @ cast(Tensor, shorten.weight) + cluster)
        by_rank = torch.cat(vectors)
        return by_rank if self.ranks is None else by_rank[self.ranks.long()]

    def _choose(self, div_value: float) -> list[int]:
        parts = [self.num_words // 16, self.num_words // 4]
        if self.hidden_dim // div_value**2 < 1:
            parts = parts[1:]
        return sorted({min(max(1, part), max(1, self.num_words - 1)) for part in parts})

    def _check(self, cutoffs: list[int], div_value: float) -> None:
        if not cutoffs or any(first >= second for first, second in pairwise([*cutoffs, self.num_words])):
            raise ValueError(
                f"model.output.cutoffs={cutoffs} must be one or more rising numbers below the {self.num_words} words "
                "of the vocabulary; give others, or null to have them chosen"
            )
        if self.hidden_dim // div_value ** len(cutoffs) < 1:
            raise ValueError(
                f"model.output.cutoffs={cutoffs} make {len(cutoffs)} clusters, and the vectors of the last would have "
                f"size {self.hidden_dim} / {div_value}^{len(cutoffs)}, below 1; give fewer, a smaller "
                "model.output.div_value or a larger model.hidden_dim"
            )

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        return Traceable(_AllWords(self.softmax, self.ranks), {})


class _AllWords(nn.Module):
    """PyTorch's adaptive softmax without assignments to slices."""

    ranks: Tensor | None

    def __init__(self, softmax: nn.AdaptiveLogSoftmaxWithLoss, ranks: Tensor | None) -> None:
        super().__init__()
        self.softmax = softmax
        self.register_buffer("ranks", ranks)

    def forward(self, hidden: Tensor) -> Tensor:
        first = self.softmax.cutoffs[0]
        head = self.softmax.head(hidden).log_softmax(-1)
        parts = [head[:, :first]]
        for number, cluster in enumerate(self.softmax.tail):
            parts.append(cluster(hidden).log_softmax(-1) + head[:, first + number : first + number + 1])
        by_rank = torch.cat(parts, 1)
        return by_rank if self.ranks is None else by_rank.index_select(1, self.ranks.long())
