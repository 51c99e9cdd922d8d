"""Which words come next, where a word is spelled with k codes: all of them, the best of them, or one drawn at random.

The codes of a word are a path in a tree: rows under the root, the cells of a row under the row.  To open a prefix, a
row for k = 2, is to read its last code, one step of the core, and to predict the code after it.

    P(w) = P(row of w) P(w | row of w) <= P(row of w)

So a row that is less likely than the k words found so far has no word to offer, and stays closed.  Rows are opened in
order of their probability, until no closed one is more likely than the k-th word: the answer is then exact, not a
guess.  Since a computed log-probability of a code is never above zero, the bound also holds in floating point.  The
paper's way, to open the most likely row alone (LightRNN, section 3.1), is ``most_likely_row``.

Knows hidden states and word ids; nothing of text.
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
"""Rows of a stream that are opened first; each later block may be twice as large."""

_AT_ONCE = 2**23
"""Scores that are held at once: 32 MiB of float32."""

_TRIES = (1, 8, 64)
"""Words that are proposed at a time for a stream that has none yet; after the last, all words are computed."""


class Found(NamedTuple):
    """Words of each stream, best first.  A place that no word could fill has log-probability -inf and word -1."""

    log_probabilities: Float[Tensor, "B k"]
    words: Int[Tensor, "B k"]
    opened: Int[Tensor, " B"]
    """How many rows were opened (for k = 3 prefixes of both kinds)."""


def select_state(state: State, places: Int[Tensor, " N"]) -> State:
    """The state of some streams, in the order given, each as often as it is named."""
    return tuple(part[:, places] for part in state)


def best_first(
    model: LanguageModel, table: Int[Tensor, "*sides"], hidden: Float[Tensor, "B H"], core: State, k: int
) -> Found:
    """The k most likely words of each stream, exactly; of equally likely ones, any.

    Args:
        model: Of words with two codes or more.
        table: The word in each cell, ``WordAllocation.words`` of it.
        hidden: The states that predict the first code.
        core: The core's state after the same step.
        k: No more than V are found.
    """
    allocation, device = model.allocation, hidden.device
    sides, num_streams = allocation.sides, len(hidden)
    last, k = len(sides) - 1, min(k, allocation.num_words)
    opened = torch.zeros(num_streams, dtype=torch.int64, device=device)
    first = _first_codes(model, hidden)
    best, cells = first.new_full((num_streams, k), -torch.inf), opened.new_full((num_streams, k), -1)
    # Prefixes not opened yet: log-probability, stream, whose state they go on from, number, and length.
    scores = first.flatten()
    stream = torch.arange(num_streams, device=device).repeat_interleave(sides[0])
    parent = stream
    prefix = torch.arange(sides[0], device=device).repeat(num_streams)
    length = torch.ones_like(prefix)
    width = _FIRST_BLOCK
    while True:
        useful = (scores > best[stream, -1]).nonzero()[:, 0]
        if not len(useful):
            return Found(best, _words_in(table, cells), opened)
        order = useful[scores[useful].argsort(descending=True)]
        order = order[stream[order].argsort(stable=True)]
        scores, stream, parent, prefix, length = (part[order] for part in (scores, stream, parent, prefix, length))
        chosen = _ranks(stream, num_streams) < min(width, max(1, _AT_ONCE // (num_streams * max(sides[1:]))))
        width *= 2
        opened += torch.bincount(stream[chosen], minlength=num_streams)
        rest = [part[~chosen] for part in (scores, stream, parent, prefix, length)]
        for axis in range(1, last + 1):
            now = (chosen & (length == axis)).nonzero()[:, 0]
            if not len(now):
                continue
            of_code, after = open_prefixes(model, select_state(core, parent[now]), prefix[now], axis)
            of_code += scores[now, None]
            if axis == last:
                best, cells = _merge(best, cells, stream[now], of_code, prefix[now])
                continue
            places, codes = (of_code > best[stream[now], -1, None]).nonzero(as_tuple=True)
            children = (
                *(of_code[places, codes], stream[now][places], places + core[0].shape[1]),
                *(prefix[now][places] * sides[axis] + codes, torch.full_like(codes, axis + 1)),
            )
            rest = [torch.cat(parts) for parts in zip(rest, children, strict=True)]
            core = tuple(torch.cat(parts, 1) for parts in zip(core, after, strict=True))
        scores, stream, parent, prefix, length = rest


def most_likely_row(
    model: LanguageModel, table: Int[Tensor, "*sides"], hidden: Float[Tensor, "B H"], core: State, k: int
) -> Found:
    """The best words of the most likely row (of the most likely prefix), up to k of them.

    The most likely word need not be among them, and a row has few words: LightRNN, section 3.1, reads the next word
    off so, and no probability distribution over words comes of it.
    """
    sides = model.allocation.sides
    scores, prefix = _first_codes(model, hidden).max(-1)
    for axis in range(1, len(sides)):
        of_code, core = open_prefixes(model, core, prefix, axis)
        if axis < len(sides) - 1:
            best, codes = of_code.max(-1)
            scores, prefix = scores + best, prefix * sides[axis] + codes
    values, codes = of_code.topk(min(k, sides[-1]), dim=-1)
    cells = torch.where(values.isneginf(), -1, prefix[:, None] * sides[-1] + codes)
    opened = torch.full_like(prefix, len(sides) - 1)
    return Found(values + scores[:, None], _words_in(table, cells), opened)


def every_word(model: LanguageModel, hidden: Float[Tensor, "B H"], core: State) -> Float[Tensor, "B V"]:
    """Log-probability of all words, every row opened: the reference for the search."""
    parts = list(_every_word(model, hidden, core))
    return torch.cat(parts) if parts else hidden.new_zeros(0, model.allocation.num_words)


def best_of_every_word(
    model: LanguageModel, hidden: Float[Tensor, "B H"], core: State, k: int
) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
    """Log-probabilities and ids of the k most likely words, no more than V, every row opened at once.

    Where k is as large as the number of rows, ``best_first`` opens most of them anyway, in several steps.
    """
    found = [scores.topk(min(k, scores.shape[1]), dim=-1) for scores in _every_word(model, hidden, core)]
    return torch.cat([values for values, _ in found]), torch.cat([words for _, words in found])


def _every_word(model: LanguageModel, hidden: Float[Tensor, "B H"], core: State) -> Iterator[Float[Tensor, "N V"]]:
    """Log-probability of all words of some streams after the other, no more scores at a time than ``_AT_ONCE``."""
    sides = model.allocation.sides
    for places in torch.arange(len(hidden), device=hidden.device).split(max(1, _AT_ONCE // prod(sides))):
        scores, state = _first_codes(model, hidden[places]), select_state(core, places)
        parent = torch.arange(len(places), device=hidden.device)
        for axis in range(1, len(sides)):
            # All prefixes of a stream side by side; what comes of those that no word has is not read in the end.
            prefix = torch.arange(prod(sides[:axis]), device=hidden.device).repeat(len(places))
            parent = parent.repeat_interleave(sides[axis - 1])
            of_code, state = open_prefixes(model, select_state(state, parent), prefix, axis)
            scores = (scores.reshape(-1, 1) + of_code).view(len(places), -1)
            parent = torch.arange(len(prefix), device=hidden.device)
        yield scores[:, model.allocation.cells()]


def draw(
    model: LanguageModel,
    table: Int[Tensor, "*sides"],
    hidden: Float[Tensor, "B H"],
    core: State,
    temperature: float,
    generator: torch.Generator,
    excluded: Int[Tensor, " E"],
) -> Int[Tensor, " B"]:
    """A word of each stream, drawn from P(w)^(1/temperature), normalised over the words that are not excluded.

    Codes are drawn one after the other, so that a row is opened, not all of them.  The product of their tempered
    distributions is not the tempered distribution of words, since a row's columns have a sum of their own,
    Z(row) = sum over c of P(c | row)^(1/temperature): a word is therefore proposed with a row drawn by
    P(row)^(1/temperature) bound(row) and kept with probability Z(row) / bound(row).  The bound is 1 up to temperature
    1, and above it, by Hoelder's inequality, (words in the row)^(1 - 1/temperature).  An excluded word is proposed
    anew.  Where nothing was kept for long, all words are computed: the draw is exact in any case.
    """
    words = torch.empty(len(hidden), dtype=torch.int64, device=hidden.device)
    pending = torch.arange(len(hidden), device=hidden.device)
    for tries in _TRIES:
        places = pending.repeat_interleave(tries)
        proposed, kept = _propose(model, table, hidden[places], select_state(core, places), 1 / temperature, generator)
        kept = (kept & ~torch.isin(proposed, excluded)).view(-1, tries)
        # argmax gives the first of equals: the proposal that came first.
        chosen = proposed.view(-1, tries).gather(1, kept.int().argmax(1, keepdim=True))[:, 0]
        found = kept.any(1)
        words[pending[found]] = chosen[found]
        pending = pending[~found]
        if not len(pending):
            return words
    scores = every_word(model, hidden[pending], select_state(core, pending)) / temperature
    scores[:, excluded] = -torch.inf
    words[pending] = torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]
    return words


def open_prefixes(
    model: LanguageModel, core: State, prefixes: Int[Tensor, " N"], axis: int
) -> tuple[Float[Tensor, "N side"], State]:
    """Read the last code of prefixes of ``axis`` codes: log-probabilities of the code after it, and the core's state.

    Args:
        model: Of words with more than ``axis`` codes.
        core: The state before the step, of N streams.
        prefixes: Their numbers, the row for axis 1 (see ``WordAllocation.prefixes``).
        axis: The code to predict.
    """
    assert isinstance(model.output, CodeOutput)
    codes = prefixes % model.allocation.sides[axis - 1]
    hidden, core = model.step(model.embedding.code_step(axis - 1, codes), core)
    return model.output.code_log_probabilities(axis, hidden, prefixes), core


def _first_codes(model: LanguageModel, hidden: Float[Tensor, "B H"]) -> Float[Tensor, "B R"]:
    assert isinstance(model.output, CodeOutput)
    root = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
    return model.output.code_log_probabilities(0, hidden, root)


def _words_in(table: Int[Tensor, "*sides"], cells: Int[Tensor, "*N"]) -> Int[Tensor, "*N"]:
    return torch.where(cells < 0, -1, table.flatten()[cells])


def _ranks(sorted_groups: Int[Tensor, " N"], num_groups: int) -> Int[Tensor, " N"]:
    """The place of each item among those of its group, for items sorted by group."""
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
    """The best of what was found before and of the words of N rows, sorted by stream."""
    num_streams, k = best.shape
    values, codes = scores.topk(min(k, scores.shape[1]), dim=-1)
    rank = _ranks(stream, num_streams)
    room = values.new_full((num_streams, int(rank.max()) + 1, values.shape[1]), -torch.inf)
    numbers = cells.new_full(room.shape, -1)
    room[stream, rank] = values
    numbers[stream, rank] = prefix[:, None] * scores.shape[1] + codes
    best, places = torch.cat([best, room.flatten(1)], 1).topk(k, dim=-1)
    return best, torch.cat([cells, numbers.flatten(1)], 1).gather(1, places)


def _propose(
    model: LanguageModel,
    table: Int[Tensor, "*sides"],
    hidden: Float[Tensor, "N H"],
    core: State,
    power: float,
    generator: torch.Generator,
) -> tuple[Int[Tensor, " N"], Bool[Tensor, " N"]]:
    """A word of each stream, and whether it is to be kept; see ``draw``."""
    sides = model.allocation.sides
    of_code = _first_codes(model, hidden)
    prefix = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
    log_kept = torch.zeros(len(hidden), dtype=hidden.dtype, device=hidden.device)
    bound = log_kept
    for axis, side in enumerate(sides):
        if axis:
            of_code, core = open_prefixes(model, core, prefix, axis)
        scores = power * of_code
        if power < 1:
            # Masked codes have no words: -inf either way.
            sizes = (table >= 0).reshape(prod(sides[: axis + 1]), -1).sum(1).view(-1, side)[prefix]
            bounds = (1 - power) * sizes.to(of_code.dtype).log()
            scores = scores + bounds
        if axis:
            log_kept = log_kept + scores.logsumexp(-1) - bound
        code = torch.multinomial(scores.softmax(-1), 1, generator=generator)
        bound = bounds.gather(1, code)[:, 0] if power < 1 else bound
        prefix = prefix * side + code[:, 0]
    luck = torch.rand(len(prefix), generator=generator, dtype=log_kept.dtype, device=log_kept.device)
    return _words_in(table, prefix), luck < log_kept.exp()
