"""Adaptive softmax (Grave et al. 2017), based on PyTorch's implementation.

A first softmax is over the frequent words and the clusters of rarer words, and a second one is over the words of a
cluster.  The rarer the words of a cluster, the shorter are their vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.adaptive_vectors import frequency_cutoffs
from lightrnn_pl.nn.embeddings.base import Embedding
from lightrnn_pl.nn.outputs.base import Output
from lightrnn_pl.nn.traceable import Traceable
from lightrnn_pl.types import Hidden, Words, WordScores
from lightrnn_pl.vocabulary import Vocabulary

_MAX_LOGITS = 2**26
"""Logits that ``top`` computes at a time: 256 MiB of float32."""


class AdaptiveOutput(Output):
    """For k = 1: the vectors of the first ``cutoffs[0]`` words and of the clusters have size H, and the vectors of the
    words of cluster i = 1, 2, ... have size H / div_value^i.

    PyTorch's layer selects the positions of each cluster, so the host waits for a GPU once per cluster and step.

    Args:
        allocation: The word allocation, k = 1.
        hidden_dim: H.
        vocabulary: The vocabulary, whose counts determine the order of the words.
        cutoffs: Ranks at which the clusters begin, with words ranked by descending count.  None selects V/16 and V/4,
            which is similar to common choices for 250,000 words, or only V/4 if H is too small for two clusters.
        div_value: Ratio of the vector sizes of consecutive clusters.

    Raises:
        ValueError: If words have more than one code, or an argument is out of range.
    """

    ranks: Tensor
    order: Tensor

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
        chosen = frequency_cutoffs(cutoffs, self.num_words, hidden_dim, div_value, "model.output")
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(hidden_dim, self.num_words, chosen, div_value)
        order = torch.from_numpy(np.argsort(-vocabulary.counts, kind="stable"))
        # Saved with the model, because a model that is fine-tuned on another text keeps the ranks of the first one.
        self.register_buffer("ranks", order.argsort().int())
        self.register_buffer("order", order.int(), persistent=False)
        self._is_sorted = self._ranks_are_ids()

    @property
    def cutoffs(self) -> list[int]:
        """Ranks at which the clusters begin, with words ranked by descending count."""
        return self.softmax.cutoffs[:-1]

    @property
    @override
    def table_bytes(self) -> int:
        # Vocabularies built by this package are sorted.
        return 0 if self._is_sorted else sum(t.numel() * t.element_size() for t in (self.ranks, self.order))

    @override
    def tie(self, embedding: Embedding) -> None:
        """Not supported, because the vectors have different sizes.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "AdaptiveOutput cannot share its vectors with an embedding, because those of rare words are shorter; set "
            "model.tied=false, or use another output, such as model/output=full with model/embedding=full"
        )

    @override
    def log_probability(self, hidden: Hidden, targets: Words) -> WordScores:
        words = targets.flatten()
        if not self._is_sorted:
            words = self.ranks[words].long()
        # PyTorch's layer fails under autocast because it mixes precisions.  Use the precision of the weights.
        with torch.autocast(hidden.device.type, enabled=False):
            flat = hidden.flatten(0, 1).to(self.softmax.head.weight.dtype)
            return self.softmax(flat, words).output.view(targets.shape)

    @override
    def log_probabilities(self, hidden: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        with torch.autocast(hidden.device.type, enabled=False):
            by_rank = self.softmax.log_prob(hidden.to(self.softmax.head.weight.dtype))
        return by_rank if self._is_sorted else by_rank[:, self.ranks.long()]

    @torch.no_grad()
    @override
    def top(self, hidden: Float[Tensor, "N H"], k: int) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
        k = min(k, self.num_words)
        chunk_size = max(1, _MAX_LOGITS // self.num_words)
        with torch.autocast(hidden.device.type, enabled=False):
            flat = hidden.to(self.softmax.head.weight.dtype)
            parts = [self.softmax.log_prob(chunk).topk(k, dim=-1) for chunk in flat.split(chunk_size)]
        values, ranks = torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])
        return values, ranks if self._is_sorted else self.order[ranks].long()

    @torch.no_grad()
    @override
    def word_vectors(self) -> Float[Tensor, "V H"]:
        """The vector of each word, expanded to size H, plus the vector of its cluster."""
        head = self.softmax.head.weight
        vectors = [head[: self.softmax.shortlist_size]]
        for cluster, tail in zip(head[self.softmax.shortlist_size :], self.softmax.tail, strict=True):
            projection, words = cast(nn.Sequential, tail)
            vectors.append(cast(Tensor, words.weight) @ cast(Tensor, projection.weight) + cluster)
        by_rank = torch.cat(vectors)
        return by_rank if self._is_sorted else by_rank[self.ranks.long()]

    @override
    def traceable(self, max_bytes: int) -> Traceable:
        return Traceable(_AllWords(self.softmax, None if self._is_sorted else self.ranks), {})

    def _ranks_are_ids(self) -> bool:
        return bool((self.ranks == torch.arange(self.num_words, device=self.ranks.device)).all())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Bundles of earlier versions have no ranks, which are determined by the counts of their words.
        ranks = state_dict.setdefault(prefix + "ranks", self.ranks)
        if not torch.equal(ranks.long().sort().values.cpu(), torch.arange(self.num_words)):
            raise ValueError(f"{prefix}ranks must contain each number from 0 to {self.num_words - 1} once")
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.order = self.ranks.long().argsort().int()
        self._is_sorted = self._ranks_are_ids()


class _AllWords(nn.Module):
    """PyTorch's adaptive softmax without slice assignments."""

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
