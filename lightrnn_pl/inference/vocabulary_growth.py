"""A larger vocabulary for a trained LightRNN, with no weight changed: new words into the empty cells of its table.

A cell that no word has is a word the model could already spell: its row and its column have vectors.  Where a new
word belongs is read off a text in which it occurs, as a reallocation does (LightRNN, section 3.2): one pass an axis
adds up, for each new word w, the hidden states from which code d of w is predicted, and the code c costs

    l_d(w, c) = const_w - (sum_t h_t) . y_c - n_w b_c.

What is exact and what is not.  Rows are only chosen among those with words, so the mask over rows, and with it the
row loss, is the grown model's.  The normaliser of the column softmax depends on which cells of the row get filled in
the end, which is left out: it belongs to const_w where the row is filled, and else differs between choices by the
share of the cells left empty.  Beside its own loss a word is charged what filling its cell takes from the words that
share the row: the sum over their occurrences of log(1 + exp(score of the column) / normaliser), exact for the first
cell filled in a row; for a row it is the mean over its empty cells.

The states are approximate: new words are read as the unknown word.  In the first pass that is so as input and as
target; in the later ones their chosen codes are fed before the one that is predicted, and only the input of the next
word is the unknown word's.

Knows models, ids and batches; neither files nor perplexities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from lightrnn_pl.allocation.new_word_cells import (
    choose_codes,
    empty_cells,
    first_cells,
    grown_table,
    move_new,
    usable_cells,
)
from lightrnn_pl.allocation.solvers import Solver
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import build_model
from lightrnn_pl.checks import check_count
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import LinearCodeOutput
from lightrnn_pl.vocabulary import Vocabulary


def check_growable(model: LanguageModel, vocabulary: Vocabulary) -> None:
    """Refuse a model that has no place for a new word.

    Raises:
        ValueError: Naming the layer or the table, and what to train instead.
    """
    if not (isinstance(model.embedding, MultiComponentEmbedding) and isinstance(model.output, LinearCodeOutput)):
        raise ValueError(
            f"{type(model.embedding).__name__} with {type(model.output).__name__} has vectors for the words of its "
            "vocabulary only; a model can grow that was trained with model/embedding=multi_component and "
            "model/output=multi_component"
        )
    allocation = model.allocation
    if allocation.num_components == 1:
        raise ValueError("a model of one code a word has no table to fill; train with model.components=2")
    if vocabulary.unknown_id is None:
        raise ValueError(
            "new words are read as the unknown word until they have a cell, and this vocabulary has none; train with "
            "data.vocabulary.unknown='<unk>'"
        )
    if not usable_cells(allocation).any():
        num_empty = int(empty_cells(allocation).sum())
        why = "has no empty cell"
        if num_empty:
            why = f"has {num_empty} empty cells, all in rows or columns without words, whose vectors were never trained"
        raise ValueError(
            f"the table of sides {list(allocation.sides)} {why}; leave room in rows that have words when you train the "
            "next model (larger model.sides; allocation=file says where the room is)"
        )


def choose_new_words(
    counts: Mapping[str, int],
    vocabulary: Vocabulary,
    allocation: WordAllocation,
    min_count: int = 2,
    max_words: int | None = None,
) -> tuple[dict[str, int], dict[str, int]]:
    """The words that get a cell, and those for which none is left, each with its count, the most frequent first.

    Args:
        counts: How often each word of a text occurs.
        vocabulary: Its words are not new.
        allocation: Its usable cells limit how many words fit.
        min_count: Rarer words are left alone.
        max_words: The most words that get a cell; None for as many as fit.

    Raises:
        ValueError: If the text has no new word that is frequent enough.
    """
    check_count("min_count", min_count)
    if max_words is not None:
        check_count("max_words", max_words)
    found = [(word, count) for word, count in counts.items() if word not in vocabulary]
    ranked = sorted((item for item in found if item[1] >= min_count), key=lambda item: (-item[1], item[0]))
    if not ranked:
        raise ValueError(
            f"the text has {len(found)} words that the vocabulary lacks, none of them min_count={min_count} times; "
            "lower min_count, or give more text"
        )
    room = int(usable_cells(allocation).sum())
    limit = room if max_words is None else min(room, max_words)
    return dict(ranked[:limit]), dict(ranked[limit:])


def grown_vocabulary(vocabulary: Vocabulary, new: Iterable[str]) -> Vocabulary:
    """The vocabulary with new words after the old ones, so that every old id keeps its meaning.

    Counts are those of the training text, so the new ones have 0: nothing was ever trained to predict them.
    """
    words = [*vocabulary.words, *new]
    counts = np.zeros(len(words), dtype=np.int64)
    counts[: len(vocabulary)] = vocabulary.counts
    return Vocabulary(words, counts, vocabulary.unknown, vocabulary.begin, vocabulary.end)


def grow_model(
    model: LanguageModel,
    config: DictConfig,
    vocabulary: Vocabulary,
    batches: Iterable[Batch],
    solver: Solver | None = None,
) -> LanguageModel:
    """A copy of ``model`` that also knows the last words of ``vocabulary``, with the same weights.

    Args:
        model: Of the first ``model.allocation.num_words`` words of the vocabulary; it is left as it is.
        config: Describes it (``config.model``).
        vocabulary: The grown one.
        batches: The text with the ids of the grown vocabulary; read k + 1 times, so an iterable that starts over.
        solver: Finds the cells; None means ``AutoSolver``.
    """
    num_old = model.allocation.num_words
    num_new = len(vocabulary) - num_old
    free = usable_cells(model.allocation)
    assert vocabulary.unknown_id is not None
    filling = filling_costs(model, batches, vocabulary.unknown_id)
    codes = np.empty((num_new, 0), dtype=np.int64)
    allocation = grown_table(model.allocation, first_cells(codes, free))
    grown = _with_table(model, config, vocabulary, allocation)
    assert isinstance(grown.output, LinearCodeOutput)
    weights, biases = grown.output.axis_parameters()
    for axis, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        move_new(allocation, first_cells(codes, free))
        sums, counts = _sum_states(grown, batches, axis, num_old, vocabulary.unknown_id)
        costs = -(sums @ weight.double().t() + counts[:, None] * bias.double())
        chosen = choose_codes(costs.cpu().numpy(), codes, free, solver, filling)
        codes = np.concatenate([codes, chosen[:, None]], axis=1)
    move_new(allocation, codes)
    return grown


@torch.no_grad()
def filling_costs(model: LanguageModel, batches: Iterable[Batch], unknown: int) -> np.ndarray:
    """What the old words of a text would lose if a cell were filled, each cell alone: nats, shape ``sides``.

    Args:
        model: Not grown yet.
        batches: May hold words beyond the model's; they are read as the unknown word and not counted.
        unknown: The id of that.
    """
    assert isinstance(model.output, LinearCodeOutput)
    allocation, device = model.allocation, next(model.parameters()).device
    last = allocation.num_components - 1
    weight, bias = (parts[last] for parts in model.output.axis_parameters())
    allowed = allocation.allowed(last)
    assert allowed is not None, "a table with an empty cell has masks"
    costs = torch.zeros(allowed.shape, dtype=torch.float64, device=device)
    state: State | None = None
    for batch in batches:
        words, targets, mask, reset = (part.to(device) for part in batch)
        counted = mask & (targets < allocation.num_words)
        words, targets = (ids.masked_fill(ids >= allocation.num_words, unknown) for ids in (words, targets))
        hidden, state = model.hidden(words, targets, state, reset)
        scores = hidden.unflatten(1, (targets.shape[1], -1))[:, :, last][counted] @ weight.t() + bias
        prefixes = allocation.prefixes(allocation.encode(targets[counted]), last)
        log_total = scores.masked_fill(~allowed[prefixes], -torch.inf).logsumexp(-1, keepdim=True)
        costs.index_add_(0, prefixes, torch.nn.functional.softplus(scores - log_total).double())
    return costs.view(allocation.sides).cpu().numpy()


def _with_table(
    model: LanguageModel, config: DictConfig, vocabulary: Vocabulary, allocation: WordAllocation
) -> LanguageModel:
    """The same weights around another table."""
    parameter = next(model.parameters())
    grown = build_model(config, allocation, vocabulary).to(parameter.device, parameter.dtype).eval()
    # The codes are the only part of the state that grows with the vocabulary.
    codes = {name: part for name, part in grown.state_dict().items() if name.endswith("allocation.codes")}
    grown.load_state_dict({**model.state_dict(), **codes})
    return grown


@torch.no_grad()
def _sum_states(
    model: LanguageModel, batches: Iterable[Batch], axis: int, num_old: int, unknown: int
) -> tuple[Tensor, Tensor]:
    """For each new word, in float64: the sum (N, H) of the states that predict its code of ``axis``, and how many."""
    assert isinstance(model.output, LinearCodeOutput)
    device = next(model.parameters()).device
    num_new = model.allocation.num_words - num_old
    sums = torch.zeros(num_new, model.output.hidden_dim, dtype=torch.float64, device=device)
    counts = torch.zeros(num_new, dtype=torch.float64, device=device)
    state: State | None = None
    for batch in batches:
        words, targets, mask, reset = (part.to(device) for part in batch)
        is_new = targets >= num_old
        words = words.masked_fill(words >= num_old, unknown)
        # No code of a new word is known in the first pass.
        fed = targets if axis else targets.masked_fill(is_new, unknown)
        hidden, state = model.hidden(words, fed, state, reset)
        counted = is_new & mask
        found = targets[counted] - num_old
        sums.index_add_(0, found, hidden.unflatten(1, (targets.shape[1], -1))[:, :, axis][counted].double())
        counts.index_add_(0, found, torch.ones(len(found), dtype=torch.float64, device=device))
    return sums, counts
