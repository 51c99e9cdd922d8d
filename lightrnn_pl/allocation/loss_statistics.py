"""Loss statistics: the loss of every word under every code, with the network fixed (LightRNN, section 3.2).

With output vectors y, biases b and hidden states h, the loss of word w under code c of axis d is

    l_d(w, c) = sum_t logZ_t - (sum_t h_t) . y_c - n_w b_c        over the n_w positions t where w is the target.

It is linear in sums over the occurrences of w, so sums of hidden states (or of logits, whichever are narrower)
determine the losses under all codes.  The hidden states of the second axis were computed with the old row as
input; Equation 6 does not mention this.  The sums are exact for these hidden states.

Masks.  The model normalizes axis d over the codes that occur after the word's prefix.  As long as the set of occupied
cells does not change, neither do the masks, and a new prefix p changes the log-normalizers of a word by

    sum_t [logsumexp over allowed(p) of the logits - logsumexp over all logits].

This correction is stored for each prefix with empty cells (usually a single row, the last one) and added to the cost of
that prefix.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from lightrnn_pl.allocation.progress_log import with_log
from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.checks import check_choice
from lightrnn_pl.distributed import all_reduce, is_distributed

log = logging.getLogger(__name__)

_FLOAT32_ADDITIONS = 32
"""Number of additions to the sums of a word after which they are stored in float64."""

_CHUNK = 4096
"""Words whose costs are computed at a time."""


class LossStatistics:
    """Sums over a corpus that determine the loss of every allocation to the same cells.

    The sums of a word are stored in float32 for its first 32 batches, and in float64 from then on.  Since only a small
    part of the vocabulary is frequent, this takes little more memory than float32, without losing precision.

    Args:
        allocation: The current codes.  They are copied, so later reallocations have no effect.
        weights: Output vectors of each axis, k tensors of shape (side, H).  They are not copied.  If they change
            between updates, logits are computed with the vectors at the time of each update, while sums of hidden
            states are multiplied by the final vectors.
        biases: Output biases of each axis, k tensors of shape (side,).
        storage: ``hidden`` stores sums of hidden states (V x H per axis), ``scores`` sums of logits (V x side), and
            ``auto`` the narrower of the two.

    Raises:
        ValueError: If the shapes do not match the allocation, or ``storage`` is not one of the choices.
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
                f"output vectors of shapes {shapes} and biases of sizes {[len(bias) for bias in biases]} do not match "
                f"a table with sides {list(self.sides)}; pass one pair per axis, in the order of the axes"
            )
        check_choice("storage", storage, ("auto", "hidden", "scores"))
        self._weights = [weight.detach() for weight in weights]
        self._biases = [bias.detach() for bias in biases]
        device = self._weights[0].device
        self._codes = allocation.codes.to(device, torch.int64, copy=True)
        self._available = (allocation.words() >= 0).cpu().numpy()
        self._masks = [_Mask(allocation, axis, device) for axis in range(len(self.sides))]
        self._stores_hidden = [
            storage == "hidden" or (storage == "auto" and hidden_dim <= side) for side, hidden_dim in shapes
        ]
        widths = []
        for (side, hidden_dim), stores_hidden, mask in zip(shapes, self._stores_hidden, self._masks, strict=True):
            widths += [hidden_dim if stores_hidden else side, 1, len(mask.partial)]
        self._widths = widths
        self._sums = _WordSums(allocation.num_words, sum(widths), device)
        self._counts = torch.zeros(allocation.num_words, dtype=torch.int64, device=device)
        self._nll = torch.zeros(len(self.sides), dtype=torch.float64, device=device)

    @property
    def counts(self) -> Real[Tensor, " V"]:
        """Number of tokens of each word, integers, or after :meth:`scale` float64."""
        return self._counts

    @property
    def count(self) -> float:
        """Number of tokens."""
        return float(self._counts.sum())

    @torch.no_grad()
    def update(self, words: Int[Tensor, " N"], hidden: Float[Tensor, "N k H"]) -> None:
        """Add a batch.

        Args:
            words: The target words.
            hidden: ``hidden[n, d]`` is the hidden state that predicts code d of ``words[n]``.
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
                logits = torch.addmm(bias, state, weight.t())
                log_total = mask.apply_fixed(logits).logsumexp(-1)
                corrections = mask.partial_log_totals(logits) - log_total[:, None]
                own = mask.apply(logits, codes[:, :axis]).logsumexp(-1)
                self._nll[axis] += (own - logits.gather(1, codes[:, axis, None])[:, 0]).sum(dtype=torch.float64)
                parts += [state if self._stores_hidden[axis] else logits, log_total[:, None], corrections]
        distinct, group = words.unique(return_inverse=True)
        values = torch.cat(parts, dim=1).double()
        self._sums.add(distinct, values.new_zeros(len(distinct), values.shape[1]).index_add_(0, group, values))
        self._counts.index_add_(0, words, torch.ones_like(words))

    def all_reduce(self) -> None:
        """Sum over all ranks, if ``torch.distributed`` is initialized.  Call it once, after the last batch.

        All ranks end up with bit-identical sums, and therefore with the same reallocation problem.
        """
        if is_distributed():
            all_reduce(self._counts)
            all_reduce(self._nll)
            self._sums.all_reduce()

    def scale(self, factor: float) -> None:
        """Multiply all sums and counts by ``factor``, to estimate a text from a part of it.  Call it after all updates.

        A factor of 1 changes no bit of the sums.
        """
        self._sums.scale(factor)
        self._counts = self._counts.double() * factor
        self._nll *= factor

    def state_dict(self) -> dict[str, Any]:
        """The sums, without the codes and output vectors."""
        return {"sums": self._sums.state_dict(), "counts": self._counts.cpu(), "nll": self._nll.cpu()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the sums of statistics with the same codes and storage; further updates then give the same bits."""
        self._sums.load_state_dict(state_dict["sums"])
        self._counts = state_dict["counts"].to(self._counts.device)
        self._nll = state_dict["nll"].to(self._nll.device)

    def total_nll(self) -> float:
        """Negative log-likelihood in nats of all tokens under the current codes, summed token by token."""
        return float(self._nll.sum())

    def predicted_nll(self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]) -> float:
        """Negative log-likelihood in nats under other ``codes``, with unchanged hidden states.

        It is exact if the codes use the same set of cells.
        """
        return float(sum(self.nll_by_axis(codes)))

    def nll_by_axis(self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]) -> tuple[float, ...]:
        """``predicted_nll`` by axis: the row loss, the column loss, ..."""
        totals = torch.zeros(len(self.sides), dtype=torch.float64, device=self._codes.device)
        for _, losses in self._losses(codes):
            totals += losses.sum(0)
        return tuple(totals.tolist())

    def mean_nll_by_word(self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]) -> Float[np.ndarray, " V"]:
        """Mean negative log-likelihood of each word under ``codes``, in nats; NaN for words that did not occur."""
        return (torch.from_numpy(self._nll_by_word(codes)) / self._counts.cpu()).numpy()

    def _nll_by_word(self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]) -> Float[np.ndarray, " V"]:
        """Total negative log-likelihood of the occurrences of each word under ``codes``, in nats."""
        totals = np.empty(len(self._counts))
        for words, losses in self._losses(codes):
            totals[words] = losses.sum(1).cpu().numpy()
        return totals

    def _losses(
        self, codes: Int[Tensor, "V k"] | Int[np.ndarray, "V k"]
    ) -> Iterator[tuple[slice, Float[Tensor, "n k"]]]:
        """The words of each chunk, and the total loss of their occurrences on each axis under ``codes``."""
        codes = torch.as_tensor(codes).to(self._codes)
        for start, values in self._chunks():
            words = slice(start, start + len(values[0]))
            losses = []
            for axis, mask in enumerate(self._masks):
                content, log_total, corrections = values[3 * axis : 3 * axis + 3]
                code = codes[words, axis]
                if self._stores_hidden[axis]:
                    logit = (content * self._weights[axis][code].double()).sum(-1)
                    logit += self._counts[words] * self._biases[axis][code].double()
                else:
                    logit = content.gather(1, code[:, None])[:, 0]
                correction = mask.correction(corrections, codes[words, :axis])
                losses.append(log_total[:, 0] - logit + correction)
            yield words, torch.stack(losses, dim=1)

    def problem(self, dtype: type[np.floating] = np.float32) -> ReallocationProblem:
        """The reallocation problem with costs in nats: ``problem.cost(codes)`` equals ``predicted_nll(codes)``.

        The problem starts from the current codes, and the available cells are those occupied now.  For k > 2, a mask
        that depends on more than the first code is not a sum over the axes.  The costs ignore such masks, so they are
        too high by the correction of the words concerned (at most one line of a table that is filled in order);
        ``predicted_nll`` includes it.

        Args:
            dtype: float32 (a relative error of 6e-8 per cost, half the memory) or float64.
        """
        num_words = len(self._counts)
        costs = [np.empty((num_words, side), dtype) for side in self.sides]
        for start, values in self._chunks():
            words = slice(start, start + len(values[0]))
            for axis, mask in enumerate(self._masks):
                costs[axis][words] = self._costs(axis, words, values)
                if axis == 1:
                    corrections = values[3 * axis + 2]
                    costs[0][words, mask.partial.cpu().numpy()] += corrections.cpu().numpy().astype(dtype)
        for axis, cost in enumerate(costs):
            cost[:, ~self._used(axis)] = np.inf
        return ReallocationProblem(tuple(costs), self._codes.cpu().numpy(), self._available)

    def last_axis_problem(self) -> ReallocationProblem:
        """The reallocation problem of words that keep all codes but the last.

        The cost of a word on the first axis is its loss under its current codes, apart from that of the last code, for
        every code of that axis.  Costs on the other axes but the last are zero.  These arrays take no memory, so the
        problem needs V x side numbers, like the sums.
        """
        axis, codes = len(self.sides) - 1, self._codes.cpu().numpy()
        last = np.empty((len(codes), self.sides[axis]), np.float32)
        for start, values in self._chunks():
            words = slice(start, start + len(values[0]))
            last[words] = self._costs(axis, words, values)
        last[:, ~self._used(axis)] = np.inf
        fixed = self._nll_by_word(codes) - last[np.arange(len(codes)), codes[:, -1]]
        first = [fixed[:, None], *(np.zeros((len(codes), 1)) for _ in self.sides[1:])]
        others = [np.broadcast_to(cost, (len(codes), side)) for cost, side in zip(first, self.sides[:-1], strict=False)]
        return ReallocationProblem((*others, last), codes, self._available)

    def _costs(self, axis: int, words: slice, values: tuple[Tensor, ...]) -> Float[np.ndarray, "n side"]:
        """Losses of ``words`` under all codes of an axis, without masks, from their ``_chunks``."""
        content, log_total, _ = values[3 * axis : 3 * axis + 3]
        if self._stores_hidden[axis]:
            bias = self._counts[words, None] * self._biases[axis].double()
            content = torch.addmm(bias, content, self._weights[axis].double().t())
        return (log_total - content).cpu().numpy()

    def _used(self, axis: int) -> Bool[np.ndarray, " side"]:
        """The codes of an axis that have available cells."""
        others = tuple(other for other in range(len(self.sides)) if other != axis)
        return np.asarray(self._available.any(axis=others))

    def _chunks(self) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """First word of each chunk, and per axis the sums of states or logits, of logZ and of the corrections."""
        num_words = len(self._counts)

        def report(chunks: int) -> None:
            log.info("Computed the losses of %s of %s words.", f"{chunks * _CHUNK:,}", f"{num_words:,}")

        for start in with_log(range(0, num_words, _CHUNK), report):
            words = torch.arange(start, min(start + _CHUNK, num_words), device=self._codes.device)
            yield start, self._sums.read(words).split(self._widths, dim=1)


class _Mask:
    """The allowed codes of one axis, and the prefixes that allow some but not all of them (``partial``)."""

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

    def apply_fixed(self, logits: Float[Tensor, "N side"]) -> Float[Tensor, "N side"]:
        """Logits with the mask of the first axis, which no reallocation changes; the other axes are not masked."""
        if self.is_first and self.allowed is not None:
            return logits.masked_fill(~self.allowed[0], -math.inf)
        return logits

    def apply(self, logits: Float[Tensor, "N side"], prefix: Int[Tensor, "N axis"]) -> Float[Tensor, "N side"]:
        """Logits with the mask of each word's own prefix."""
        if self.allowed is None:
            return logits
        return logits.masked_fill(~self.allowed[self._number(prefix)], -math.inf)

    def partial_log_totals(self, logits: Float[Tensor, "N side"]) -> Float[Tensor, "N partial"]:
        """Log-sum-exp over the codes that each partial prefix allows."""
        totals = logits.new_empty(len(logits), len(self.partial))
        for column, allowed in enumerate(self._partial_masks):
            totals[:, column] = logits[:, allowed].logsumexp(-1)
        return totals

    def correction(self, corrections: Float[Tensor, "N partial"], prefix: Int[Tensor, "N axis"]) -> Float[Tensor, " N"]:
        """Change of each word's log-normalizer due to its prefix; zero for prefixes without empty cells."""
        column = self._column[self._number(prefix)]
        padded = torch.cat([corrections, corrections.new_zeros(len(corrections), 1)], dim=1)
        return padded.gather(1, column[:, None] % padded.shape[1])[:, 0]

    def _number(self, prefix: Int[Tensor, "N axis"]) -> Int[Tensor, " N"]:
        number = torch.zeros(len(prefix), dtype=torch.int64, device=prefix.device)
        for axis, side in enumerate(self._sides):
            number = number * side + prefix[:, axis]
        return number


class _WordSums:
    """A table (V, width) of precise sums: float32 for rare words, float64 for words with many additions."""

    def __init__(self, num_words: int, width: int, device: torch.device) -> None:
        self._rare = torch.zeros(num_words, width, device=device)
        self._frequent = torch.zeros(0, width, dtype=torch.float64, device=device)
        self._num_frequent = 0
        self._slots = torch.full((num_words,), -1, dtype=torch.int64, device=device)
        self._additions = torch.zeros(num_words, dtype=torch.int64, device=device)

    def add(self, words: Int[Tensor, " n"], sums: Float[Tensor, "n width"]) -> None:
        """Add float64 ``sums`` to the rows of ``words``, which must be distinct."""
        self._additions[words] += 1
        self._write(words, self.read(words) + sums)

    def read(self, words: Int[Tensor, " n"]) -> Float[Tensor, "n width"]:
        """Rows of ``words``, in float64."""
        rows = self._rare[words].double()
        slots = self._slots[words]
        frequent = slots >= 0
        rows[frequent] = self._frequent[slots[frequent]]
        return rows

    def scale(self, factor: float) -> None:
        """Multiply all sums by ``factor``."""
        self._rare *= factor
        self._frequent *= factor

    def state_dict(self) -> dict[str, Tensor]:
        """The sums, and which of them are stored in float64."""
        return {
            "rare": self._rare.cpu(),
            "frequent": self._frequent[: self._num_frequent].clone().cpu(),
            "slots": self._slots.cpu(),
            "additions": self._additions.cpu(),
        }

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Restore the state."""
        state = {name: part.to(self._rare.device) for name, part in state_dict.items()}
        self._rare, self._frequent = state["rare"], state["frequent"]
        self._slots, self._additions = state["slots"], state["additions"]
        self._num_frequent = len(self._frequent)

    def all_reduce(self) -> None:
        """Sum over ranks, one chunk of words at a time."""
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
