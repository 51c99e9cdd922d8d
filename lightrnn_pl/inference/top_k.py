"""Next-word prediction for words with several codes: exact top-k search, greedy search and sampling.

The codes of a word form a path in a tree: the rows are children of the root, and the cells of a row are its children.
To open a prefix (for two codes, a row) means to read its last code, one step of the core, and to predict the next code.

    P(w) = P(row of w) P(w | row of w) <= P(row of w)

Therefore a row that is less likely than the k-th best word found so far contains none of the k most likely words.
Rows are opened in order of probability until no unopened row is more likely than the k-th word, so the result is
exact.  Since the computed log-probability of a code is never positive, the bound also holds in floating point.  The
paper opens only the most likely row (LightRNN, section 3.1), see ``greedy_search``.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import CodeOutput

_FIRST_BLOCK = 16
"""Number of rows per stream that are opened first.  The size doubles with each block."""

_MAX_SCORES = 2**23
"""Number of log-probabilities computed at a time: 32 MiB of float32."""

_PROPOSALS = (1, 8, 64)
"""Number of proposals per stream in each attempt.  After the last one, the probabilities of all words are computed."""


class TopWords(NamedTuple):
    """The most likely words of each stream, most likely first.  Missing words have log-probability -inf and id -1."""

    log_probabilities: Float[Tensor, "B k"]
    words: Int[Tensor, "B k"]
    opened: Int[Tensor, " B"]
    """Number of rows opened.  With three codes, prefixes of one and of two codes are counted."""


def select_state(state: State, streams: Int[Tensor, " N"]) -> State:
    """The core state of the streams with the given indices, which may contain duplicates."""
    return tuple(part[:, streams] for part in state)


def best_first_search(
    model: LanguageModel, table: Int[Tensor, "*sides"], hidden: Float[Tensor, "B H"], core: State, k: int
) -> TopWords:
    """The k most likely words of each stream.  Ties are broken arbitrarily.

    Args:
        model: A model with at least two codes per word.
        table: The word in each cell (``WordAllocation.words``).
        hidden: The hidden states that predict the first code.
        core: The state of the core after the same step.
        k: Number of words, limited to V.
    """
    allocation, device = model.allocation, hidden.device
    sides, num_streams = allocation.sides, len(hidden)
    last, k = len(sides) - 1, min(k, allocation.num_words)
    opened = torch.zeros(num_streams, dtype=torch.int64, device=device)
    first = _first_codes(model, hidden)
    best, cells = first.new_full((num_streams, k), -torch.inf), opened.new_full((num_streams, k), -1)
    # Unopened prefixes: log-probability, stream, index of the core state to continue from, number, and length.
    scores = first.flatten()
    stream = torch.arange(num_streams, device=device).repeat_interleave(sides[0])
    parent = stream
    prefix = torch.arange(sides[0], device=device).repeat(num_streams)
    length = torch.ones_like(prefix)
    width = _FIRST_BLOCK
    while True:
        useful = (scores > best[stream, -1]).nonzero()[:, 0]
        if not len(useful):
            return TopWords(best, _words_in(table, cells), opened)
        order = useful[scores[useful].argsort(descending=True)]
        order = order[stream[order].argsort(stable=True)]
        scores, stream, parent, prefix, length = (part[order] for part in (scores, stream, parent, prefix, length))
        chosen = _ranks(stream, num_streams) < min(width, max(1, _MAX_SCORES // (num_streams * max(sides[1:]))))
        width *= 2
        opened += torch.bincount(stream[chosen], minlength=num_streams)
        rest = [part[~chosen] for part in (scores, stream, parent, prefix, length)]
        for axis in range(1, last + 1):
            opening = (chosen & (length == axis)).nonzero()[:, 0]
            if not len(opening):
                continue
            scores_of_code, next_core = open_prefixes(model, select_state(core, parent[opening]), prefix[opening], axis)
            scores_of_code += scores[opening, None]
            if axis == last:
                best, cells = _merge(best, cells, stream[opening], scores_of_code, prefix[opening])
                continue
            parents, codes = (scores_of_code > best[stream[opening], -1, None]).nonzero(as_tuple=True)
            children = (
                *(scores_of_code[parents, codes], stream[opening][parents], parents + core[0].shape[1]),
                *(prefix[opening][parents] * sides[axis] + codes, torch.full_like(codes, axis + 1)),
            )
            rest = [torch.cat(parts) for parts in zip(rest, children, strict=True)]
            core = tuple(torch.cat(parts, 1) for parts in zip(core, next_core, strict=True))
        scores, stream, parent, prefix, length = rest


def greedy_search(
    model: LanguageModel, table: Int[Tensor, "*sides"], hidden: Float[Tensor, "B H"], core: State, k: int
) -> TopWords:
    """The most likely words of the most likely row (in general: prefix), at most k.

    This is the search of LightRNN, section 3.1.  The most likely word may be in another row.
    """
    sides = model.allocation.sides
    scores, prefix = _first_codes(model, hidden).max(-1)
    for axis in range(1, len(sides)):
        scores_of_code, core = open_prefixes(model, core, prefix, axis)
        if axis < len(sides) - 1:
            best, codes = scores_of_code.max(-1)
            scores, prefix = scores + best, prefix * sides[axis] + codes
    values, codes = scores_of_code.topk(min(k, sides[-1]), dim=-1)
    cells = torch.where(values.isneginf(), -1, prefix[:, None] * sides[-1] + codes)
    opened = torch.full_like(prefix, len(sides) - 1)
    return TopWords(values + scores[:, None], _words_in(table, cells), opened)


def all_log_probabilities(model: LanguageModel, hidden: Float[Tensor, "B H"], core: State) -> Float[Tensor, "B V"]:
    """Log-probabilities of all words, computed by opening every row.  The reference for the search."""
    parts = list(_all_log_probabilities(model, hidden, core))
    return torch.cat(parts) if parts else hidden.new_zeros(0, model.allocation.num_words)


def top_of_all_words(
    model: LanguageModel, hidden: Float[Tensor, "B H"], core: State, k: int
) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
    """Log-probabilities and ids of the k (at most V) most likely words, with every row opened at once.

    If k is as large as the number of rows, ``best_first_search`` opens most of them as well, but in several steps.
    """
    top = [scores.topk(min(k, scores.shape[1]), dim=-1) for scores in _all_log_probabilities(model, hidden, core)]
    return torch.cat([values for values, _ in top]), torch.cat([words for _, words in top])


def _all_log_probabilities(
    model: LanguageModel, hidden: Float[Tensor, "B H"], core: State
) -> Iterator[Float[Tensor, "N V"]]:
    """Log-probabilities of all words for consecutive blocks of streams, at most ``_MAX_SCORES`` per block."""
    sides = model.allocation.sides
    for streams in torch.arange(len(hidden), device=hidden.device).split(max(1, _MAX_SCORES // prod(sides))):
        scores, state = _first_codes(model, hidden[streams]), select_state(core, streams)
        parent = torch.arange(len(streams), device=hidden.device)
        for axis in range(1, len(sides)):
            # All prefixes of a stream, including those without words, whose results are discarded below.
            prefix = torch.arange(prod(sides[:axis]), device=hidden.device).repeat(len(streams))
            parent = parent.repeat_interleave(sides[axis - 1])
            scores_of_code, state = open_prefixes(model, select_state(state, parent), prefix, axis)
            scores = (scores.reshape(-1, 1) + scores_of_code).view(len(streams), -1)
            parent = torch.arange(len(prefix), device=hidden.device)
        yield scores[:, model.allocation.cells()]


def sample_words(
    model: LanguageModel,
    table: Int[Tensor, "*sides"],
    hidden: Float[Tensor, "B H"],
    core: State,
    temperature: float,
    generator: torch.Generator,
    excluded: Int[Tensor, " E"],
) -> Int[Tensor, " B"]:
    """Sample a word of each stream from P(w)^(1/temperature), normalized over the words that are not excluded.

    Codes are sampled one after another, so that only one row is opened.  The product of their tempered distributions
    differs from the tempered distribution of words by the normalizer of the columns of a row,
    Z(row) = sum over c of P(c | row)^(1/temperature).  Rejection sampling corrects this: a row is proposed with
    probability proportional to P(row)^(1/temperature) bound(row), and the word is accepted with probability
    Z(row) / bound(row).  The bound is 1 for temperatures up to 1.  Above, it is
    (words in the row)^(1 - 1/temperature) by Hoelder's inequality.  Excluded words are rejected.  If every proposal of
    a stream is rejected, its word is sampled from the probabilities of all words, so the distribution is exact.
    """
    words = torch.empty(len(hidden), dtype=torch.int64, device=hidden.device)
    pending = torch.arange(len(hidden), device=hidden.device)
    for num_proposals in _PROPOSALS:
        streams = pending.repeat_interleave(num_proposals)
        proposed, accepted = _propose(
            model, table, hidden[streams], select_state(core, streams), 1 / temperature, generator
        )
        accepted = (accepted & ~torch.isin(proposed, excluded)).view(-1, num_proposals)
        # argmax returns the first accepted proposal.
        chosen = proposed.view(-1, num_proposals).gather(1, accepted.int().argmax(1, keepdim=True))[:, 0]
        done = accepted.any(1)
        words[pending[done]] = chosen[done]
        pending = pending[~done]
        if not len(pending):
            return words
    scores = all_log_probabilities(model, hidden[pending], select_state(core, pending)) / temperature
    scores[:, excluded] = -torch.inf
    words[pending] = torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]
    return words


def open_prefixes(
    model: LanguageModel, core: State, prefixes: Int[Tensor, " N"], axis: int
) -> tuple[Float[Tensor, "N side"], State]:
    """Read the last code of prefixes with ``axis`` codes.

    Args:
        model: A model with more than ``axis`` codes per word.
        core: The state of the core before the step, for N streams.
        prefixes: The number of each prefix, which is the row for axis 1 (``WordAllocation.prefixes``).
        axis: The code to predict.

    Returns:
        The log-probabilities of the next code and the state of the core after the step.
    """
    assert isinstance(model.output, CodeOutput)
    codes = prefixes % model.allocation.sides[axis - 1]
    hidden, core = model.read_code(axis - 1, codes, core)
    return model.output.code_log_probabilities(axis, hidden, prefixes), core


def _first_codes(model: LanguageModel, hidden: Float[Tensor, "B H"]) -> Float[Tensor, "B R"]:
    assert isinstance(model.output, CodeOutput)
    root = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
    return model.output.code_log_probabilities(0, hidden, root)


def _words_in(table: Int[Tensor, "*sides"], cells: Int[Tensor, "*N"]) -> Int[Tensor, "*N"]:
    return torch.where(cells < 0, -1, table.flatten()[cells])


def _ranks(sorted_groups: Int[Tensor, " N"], num_groups: int) -> Int[Tensor, " N"]:
    """The rank of each item within its group, for items sorted by group."""
    sizes = torch.bincount(sorted_groups, minlength=num_groups)
    starts = sizes.cumsum(0) - sizes
    return torch.arange(len(sorted_groups), device=sorted_groups.device) - starts[sorted_groups]


def _merge(
    best: Float[Tensor, "B k"],
    cells: Int[Tensor, "B k"],
    stream: Int[Tensor, " N"],
    scores: Float[Tensor, "N side"],
    prefix: Int[Tensor, " N"],
) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
    """The best of the previous words and the words of N rows, which are sorted by stream."""
    num_streams, k = best.shape
    values, codes = scores.topk(min(k, scores.shape[1]), dim=-1)
    rank = _ranks(stream, num_streams)
    by_stream = values.new_full((num_streams, int(rank.max()) + 1, values.shape[1]), -torch.inf)
    numbers = cells.new_full(by_stream.shape, -1)
    by_stream[stream, rank] = values
    numbers[stream, rank] = prefix[:, None] * scores.shape[1] + codes
    best, indices = torch.cat([best, by_stream.flatten(1)], 1).topk(k, dim=-1)
    return best, torch.cat([cells, numbers.flatten(1)], 1).gather(1, indices)


def _propose(
    model: LanguageModel,
    table: Int[Tensor, "*sides"],
    hidden: Float[Tensor, "N H"],
    core: State,
    power: float,
    generator: torch.Generator,
) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"]]:
    """A proposed word of each stream, and whether it is accepted; see ``sample_words``."""
    sides = model.allocation.sides
    scores_of_code = _first_codes(model, hidden)
    prefix = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
    log_acceptance = torch.zeros(len(hidden), dtype=hidden.dtype, device=hidden.device)
    bound = log_acceptance
    for axis, side in enumerate(sides):
        if axis:
            scores_of_code, core = open_prefixes(model, core, prefix, axis)
        scores = power * scores_of_code
        if power < 1:
            # Masked codes have no words, so their bound is -inf as well.
            sizes = (table >= 0).reshape(prod(sides[: axis + 1]), -1).sum(1).view(-1, side)[prefix]
            bounds = (1 - power) * sizes.to(scores_of_code.dtype).log()
            scores = scores + bounds
        if axis:
            log_acceptance = log_acceptance + scores.logsumexp(-1) - bound
        code = torch.multinomial(scores.softmax(-1), 1, generator=generator)
        bound = bounds.gather(1, code)[:, 0] if power < 1 else bound
        prefix = prefix * side + code[:, 0]
    uniform = torch.rand(len(prefix), generator=generator, dtype=log_acceptance.dtype, device=log_acceptance.device)
    return _words_in(table, prefix), uniform < log_acceptance.exp()
