"""Loss statistics: what every word would cost under every code, with the vectors held fixed (LightRNN, section 3.2).

With output vectors y, biases b and hidden state h, a word w that were given the code c on axis d would pay

    l_d(w, c) = sum_t logZ_t - (sum_t h_t) . y_c - n_w b_c        over the n_w positions t where w is the target,

so sums of hidden states (or of scores, whichever are narrower) say it for every code at once.  Equation 6 hides that
h of the second axis was computed with the old row fed; the sums here are exact for that hidden state.

Masks.  The model normalises axis d over the codes that occur after the word's prefix only.  As long as the occupied
cells stay the same, so do the masks, and a word's new prefix p changes its normaliser by

    sum_t [logsumexp over allowed(p) of the scores - logsumexp over all scores]

which is kept for each prefix that has empty cells (usually one row, the last) and added to the cost of that prefix.
Knows tensors only: neither the network that made them nor Lightning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.distributed import all_reduce, is_distributed

_FLOAT32_ADDITIONS = 32
"""Sums of words that were added to more often than this are held in float64."""

_CHUNK = 4096
"""Words that are turned into costs at a time."""


class LossStatistics:
    """Sums over a corpus from which the loss of every allocation to the same cells follows.

    The sums of a word are float32 and, from its 33rd batch on, float64: few words are frequent, so this costs little
    more than float32 and loses nothing.

    Args:
        allocation: Where the words are now; what it is at this moment counts, later moves do not.
        weights: Output vectors of each axis, k of shape (side, H).  They are not copied: while they are trained on,
            scores are those of the moment and hidden sums meet the final vectors.
        biases: Output biases of each axis, k of shape (side,).
        storage: Keep sums of hidden states (V x H an axis), of scores (V x side), or of the narrower of the two.
    """

    def __init__(
        self,
        allocation: WordAllocation,
        weights: Sequence[Float[Tensor, "_ H"]],
        biases: Sequence[Float[Tensor, " _"]],
        storage: Literal["auto", "hidden", "scores"] = "auto",
    ) -> None:
        self.sides = allocation.sides
        shapes = [tuple(weight.shape) for weight in weights]
        if tuple(side for side, _ in shapes) != self.sides or [len(bias) for bias in biases] != list(self.sides):
            raise ValueError(
                f"output vectors of shapes {shapes} with biases of {[len(bias) for bias in biases]} do not belong to a "
                f"table of sides {list(self.sides)}; give one pair an axis, in the table's order"
            )
        if storage not in ("auto", "hidden", "scores"):
            raise ValueError(f"storage={storage!r}; choose auto, hidden or scores")
        self._weights = [weight.detach() for weight in weights]
        self._biases = [bias.detach() for bias in biases]
        device = self._weights[0].device
        self._codes = allocation.codes.to(device, torch.int64, copy=True)
        self._available = (allocation.words() >= 0).cpu().numpy()
        self._masks = [_Mask(allocation, axis, device) for axis in range(len(self.sides))]
        self._keeps_hidden = [
            storage == "hidden" or (storage == "auto" and hidden_dim <= side) for side, hidden_dim in shapes
        ]
        widths = []
        for (side, hidden_dim), keeps_hidden, mask in zip(shapes, self._keeps_hidden, self._masks, strict=True):
            widths += [hidden_dim if keeps_hidden else side, 1, len(mask.partial)]
        self._widths = widths
        self._sums = _WordSums(allocation.num_words, sum(widths), device)
        self._counts = torch.zeros(allocation.num_words, dtype=torch.int64, device=device)
        self._nll = torch.zeros(len(self.sides), dtype=torch.float64, device=device)

    @property
    def counts(self) -> Int[Tensor, " V"]:
        """Tokens added of each word."""
        return self._counts

    @property
    def count(self) -> int:
        """Tokens added."""
        return int(self._counts.sum())

    @torch.no_grad()
    def update(self, words: Int[Tensor, " N"], hidden: Float[Tensor, "N k H"]) -> None:
        """Add a batch.

        Args:
            words: The targets.
            hidden: ``hidden[n, d]`` is the state from which code d of ``words[n]`` is predicted.
        """
        device = self._codes.device
        words = words.to(device)
        if len(words) == 0:
            return
        codes = self._codes[words]
        parts = []
        with torch.autocast(device.type, enabled=False):
            for axis, mask in enumerate(self._masks):
                state = hidden[:, axis].to(device, torch.promote_types(hidden.dtype, torch.float32))
                weight, bias = self._weights[axis].to(state.dtype), self._biases[axis].to(state.dtype)
                scores = torch.addmm(bias, state, weight.t())
                log_total = mask.first(scores).logsumexp(-1)
                corrections = mask.partial_log_totals(scores) - log_total[:, None]
                own = mask.own(scores, codes[:, :axis]).logsumexp(-1)
                self._nll[axis] += (own - scores.gather(1, codes[:, axis, None])[:, 0]).sum(dtype=torch.float64)
                parts += [state if self._keeps_hidden[axis] else scores, log_total[:, None], corrections]
        found, group = words.unique(return_inverse=True)
        values = torch.cat(parts, dim=1).double()
        self._sums.add(found, values.new_zeros(len(found), values.shape[1]).index_add_(0, group, values))
        self._counts.index_add_(0, words, torch.ones_like(words))

    def all_reduce(self) -> None:
        """Sum over the ranks of ``torch.distributed``, where it runs; call once, after the last batch.

        Every rank ends with the same numbers, bit for bit, and so with the same problem.
        """
        if is_distributed():
            all_reduce(self._counts)
            all_reduce(self._nll)
            self._sums.all_reduce()

    def total_nll(self) -> float:
        """Negative log-likelihood in nats of what was added, under the present codes, summed token by token."""
        return float(self._nll.sum())

    def predicted_nll(self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]) -> float:
        """Negative log-likelihood in nats under other ``codes`` with the hidden states as they were; exact if the
        codes use the same set of cells."""
        return float(sum(self.nll_by_axis(codes)))

    def nll_by_axis(self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]) -> tuple[float, ...]:
        """``predicted_nll`` split by axis: row loss, column loss, ..."""
        totals = torch.zeros(len(self.sides), dtype=torch.float64, device=self._codes.device)
        for _, losses in self._losses(codes):
            totals += losses.sum(0)
        return tuple(totals.tolist())

    def mean_nll_by_word(self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]) -> Float[np.ndarray, " V"]:
        """What each word costs an occurrence under ``codes``, in nats; NaN for words that did not occur."""
        means = np.empty(len(self._counts))
        for words, losses in self._losses(codes):
            means[words] = (losses.sum(1) / self._counts[words]).cpu().numpy()
        return means

    def _losses(
        self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]
    ) -> Iterator[tuple[slice, Float[Tensor, "n k"]]]:
        """The words of each chunk, and what all of their occurrences cost on each axis under ``codes``."""
        codes = torch.as_tensor(codes).to(self._codes)
        for start, values in self._chunks():
            words = slice(start, start + len(values[0]))
            losses = []
            for axis, mask in enumerate(self._masks):
                content, log_total, corrections = values[3 * axis : 3 * axis + 3]
                code = codes[words, axis]
                if self._keeps_hidden[axis]:
                    score = (content * self._weights[axis][code].double()).sum(-1)
                    score += self._counts[words] * self._biases[axis][code].double()
                else:
                    score = content.gather(1, code[:, None])[:, 0]
                changed = mask.correction(corrections, codes[words, :axis])
                losses.append(log_total[:, 0] - score + changed)
            yield words, torch.stack(losses, dim=1)

    def problem(self, dtype: type[np.floating] = np.float32) -> ReallocationProblem:
        """The reallocation problem whose costs are nats: ``problem.cost(codes)`` is ``predicted_nll(codes)``.

        The start codes are the words' present ones and the available cells those occupied now.  For k > 2 a mask that
        depends on more than the first code is no sum over the axes: the costs leave it out, and are too high by the
        correction of those words (at most one line of a table that is filled in order); ``predicted_nll`` has it.

        Args:
            dtype: float32 (a relative error of 6e-8 a cost, half the memory) or float64.
        """
        num_words = len(self._counts)
        costs = [np.empty((num_words, side), dtype) for side in self.sides]
        for start, values in self._chunks():
            words = slice(start, start + len(values[0]))
            for axis, mask in enumerate(self._masks):
                content, log_total, corrections = values[3 * axis : 3 * axis + 3]
                if self._keeps_hidden[axis]:
                    bias = self._counts[words, None] * self._biases[axis].double()
                    content = torch.addmm(bias, content, self._weights[axis].double().t())
                costs[axis][words] = (log_total - content).cpu().numpy()
                if axis == 1:
                    costs[0][words, mask.partial.cpu().numpy()] += corrections.cpu().numpy().astype(dtype)
        for axis, cost in enumerate(costs):
            others = tuple(other for other in range(len(costs)) if other != axis)
            cost[:, ~self._available.any(axis=others)] = np.inf
        return ReallocationProblem(tuple(costs), self._codes.cpu().numpy(), self._available)

    def _chunks(self) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """First word of each chunk, and per axis the sums of states or scores, of logZ and of the corrections."""
        for start in range(0, len(self._counts), _CHUNK):
            words = torch.arange(start, min(start + _CHUNK, len(self._counts)), device=self._codes.device)
            yield start, self._sums.read(words).split(self._widths, dim=1)


class _Mask:
    """The allowed codes of one axis and the prefixes that allow some but not all of them (``partial``)."""

    def __init__(self, allocation: WordAllocation, axis: int, device: torch.device) -> None:
        self._sides = allocation.sides[:axis]
        allowed = allocation.allowed(axis)
        self.allowed = None if allowed is None else allowed.to(device)
        self.is_first = axis == 0
        if self.is_first or self.allowed is None:
            self.partial = torch.zeros(0, dtype=torch.int64, device=device)
        else:
            self.partial = (self.allowed.any(-1) & ~self.allowed.all(-1)).nonzero()[:, 0]
        self._partial_masks = [] if self.allowed is None else list(self.allowed[self.partial])
        self._column = torch.full((math.prod(self._sides),), -1, dtype=torch.int64, device=device)
        self._column[self.partial] = torch.arange(len(self.partial), device=device)

    def first(self, scores: Float[Tensor, "N side"]) -> Float[Tensor, "N side"]:
        """Scores under the mask that no move changes: that of the first axis; later axes are left whole."""
        if self.is_first and self.allowed is not None:
            return scores.masked_fill(~self.allowed[0], -math.inf)
        return scores

    def own(self, scores: Float[Tensor, "N side"], prefix: Int[Tensor, "N axis"]) -> Float[Tensor, "N side"]:
        """Scores under the mask of each word's own prefix."""
        if self.allowed is None:
            return scores
        return scores.masked_fill(~self.allowed[self._number(prefix)], -math.inf)

    def partial_log_totals(self, scores: Float[Tensor, "N side"]) -> Float[Tensor, "N partial"]:
        """Log-sum-exp over what each partial prefix allows."""
        totals = scores.new_empty(len(scores), len(self.partial))
        for column, allowed in enumerate(self._partial_masks):
            totals[:, column] = scores[:, allowed].logsumexp(-1)
        return totals

    def correction(self, corrections: Float[Tensor, "N partial"], prefix: Int[Tensor, "N axis"]) -> Float[Tensor, " N"]:
        """What each word's prefix changes in its normaliser, zero for the prefixes without empty cells."""
        column = self._column[self._number(prefix)]
        padded = torch.cat([corrections, corrections.new_zeros(len(corrections), 1)], dim=1)
        return padded.gather(1, column[:, None] % padded.shape[1])[:, 0]

    def _number(self, prefix: Int[Tensor, "N axis"]) -> Int[Tensor, " N"]:
        number = torch.zeros(len(prefix), dtype=torch.int64, device=prefix.device)
        for axis, side in enumerate(self._sides):
            number = number * side + prefix[:, axis]
        return number


class _WordSums:
    """A table (V, width) of sums that lose nothing: float32 for rare words, float64 for those often added to."""

    def __init__(self, num_words: int, width: int, device: torch.device) -> None:
        self._rare = torch.zeros(num_words, width, device=device)
        self._frequent = torch.zeros(0, width, dtype=torch.float64, device=device)
        self._num_frequent = 0
        self._slots = torch.full((num_words,), -1, dtype=torch.int64, device=device)
        self._additions = torch.zeros(num_words, dtype=torch.int64, device=device)

    def add(self, words: Int[Tensor, " n"], sums: Float[Tensor, "n width"]) -> None:
        """Add float64 ``sums`` to the rows of ``words``, each of which occurs once."""
        self._additions[words] += 1
        self._write(words, self.read(words) + sums)

    def read(self, words: Int[Tensor, " n"]) -> Float[Tensor, "n width"]:
        """Rows of ``words``, in float64."""
        rows = self._rare[words].double()
        slots = self._slots[words]
        frequent = slots >= 0
        rows[frequent] = self._frequent[slots[frequent]]
        return rows

    def all_reduce(self) -> None:
        """Sum over ranks, some words at a time."""
        torch.distributed.all_reduce(self._additions)
        for words in torch.arange(len(self._rare), device=self._rare.device).split(_CHUNK):
            rows = self.read(words)
            torch.distributed.all_reduce(rows)
            self._write(words, rows)

    def _write(self, words: Tensor, rows: Tensor) -> None:
        new = words[(self._slots[words] < 0) & (self._additions[words] > _FLOAT32_ADDITIONS)]
        if len(new):
            self._promote(new)
        slots = self._slots[words]
        frequent = slots >= 0
        self._frequent[slots[frequent]] = rows[frequent]
        self._rare[words[~frequent]] = rows[~frequent].float()

    def _promote(self, words: Tensor) -> None:
        needed = self._num_frequent + len(words)
        if needed > len(self._frequent):
            grown = self._frequent.new_zeros(max(needed, 2 * len(self._frequent), 64), self._frequent.shape[1])
            grown[: self._num_frequent] = self._frequent[: self._num_frequent]
            self._frequent = grown
        self._slots[words] = torch.arange(self._num_frequent, needed, device=words.device)
        self._num_frequent = needed
