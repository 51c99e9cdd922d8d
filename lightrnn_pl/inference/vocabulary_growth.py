"""Growing the vocabulary of a trained LightRNN: new words are assigned to empty cells, and no weight changes.

The row and the column of an empty cell already have vectors, so the model can read and predict a word in that cell.
The cells of new words are chosen from a text in which they occur, like in a reallocation (LightRNN, section 3.2).
One pass per axis d sums, for each new word w, the hidden states that predict its code, and the cost of code c is

    l_d(w, c) = const_w - (sum_t h_t) . y_c - n_w b_c.

Exact and approximate parts.  Rows are chosen only among rows that have words, so the mask over rows does not change,
and the row loss is that of the grown model.  The normalizer of the column softmax depends on which cells of the row are
filled in the end, which is ignored.  It is part of const_w if all cells of the row are filled.  Otherwise, it differs
between the choices by the probability of the cells that remain empty.  In addition to its own loss, the cost of a word
includes the loss that filling its cell causes for the other words in its row: the sum over their occurrences of
log(1 + exp(logit of the column) / normalizer).  This is exact for the first cell filled in a row.  For the choice of a
row, the mean over its empty cells is used.

The hidden states are approximate, because new words are read as the unknown word.  In the first pass, this applies to
inputs and targets.  In later passes, the codes chosen so far are used as targets, and only inputs are replaced.

If the model is trained afterwards, a table without enough empty cells can be given more columns (``widen_model``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from jaxtyping import Bool
from omegaconf import DictConfig
from torch import Tensor

from lightrnn_pl.allocation.new_word_cells import (
    empty_cells,
    first_free_cells,
    grow_allocation,
    reassign_new_words,
    solve_by_prefix,
    usable_cells,
)
from lightrnn_pl.allocation.solvers import Solver
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import as_plain, assemble_model
from lightrnn_pl.checks import check_count
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.nn.cores import State
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import LinearCodeOutput
from lightrnn_pl.stored_model import constructor_of, restore_model
from lightrnn_pl.vocabulary import Vocabulary


def check_growable(model: LanguageModel, vocabulary: Vocabulary) -> None:
    """Check that words can be added to a model.

    Raises:
        ValueError: If not.  The message contains the reason and a configuration that allows it.
    """
    check_shared_vectors(model, vocabulary)
    allocation = model.allocation
    if not usable_cells(allocation).any():
        num_empty = int(empty_cells(allocation).sum())
        reason = "has no empty cell"
        if num_empty:
            reason = f"has {num_empty} empty cells, but all in rows or columns without words and trained vectors"
        raise ValueError(
            f"the allocation with sides {list(allocation.sides)} {reason}; train a model with empty cells in rows that "
            "have words (use larger model.sides; allocation=file controls which cells are empty)"
        )


def check_shared_vectors(model: LanguageModel, vocabulary: Vocabulary) -> None:
    """Check that new words can use the vectors of rows and columns, if there are enough cells.

    Raises:
        ValueError: If not.  The message contains the reason and a configuration that allows it.
    """
    reads_all_codes = all(vectors is not None for vectors in model.embedding.axis_vectors())
    if not (reads_all_codes and isinstance(model.output, LinearCodeOutput)):
        raise ValueError(
            f"{type(model.embedding).__name__} with {type(model.output).__name__} has no vectors for new words; only "
            "models trained with model/embedding=multi_component and model/output=multi_component can grow"
        )
    if model.allocation.num_components == 1:
        raise ValueError("a model with one code per word has no empty cells; train with model.components=2")
    if vocabulary.unknown_id is None:
        raise ValueError(
            "new words are read as the unknown word until they have a cell, but the vocabulary has no unknown word; "
            "train with data.vocabulary.unknown='<unk>'"
        )


def choose_new_words(
    counts: Mapping[str, int],
    vocabulary: Vocabulary,
    allocation: WordAllocation,
    min_count: int = 2,
    max_words: int | None = None,
) -> tuple[dict[str, int], dict[str, int]]:
    """Select the new words to add, most frequent first.

    Args:
        counts: Number of occurrences of each word in a text.
        vocabulary: The current vocabulary.
        allocation: The current allocation, whose usable cells limit the number of new words.
        min_count: Words that occur less often are ignored.
        max_words: Maximum number of new words; None for as many as there are usable cells.

    Returns:
        The counts of the words that get a cell, and of the words for which there is no cell left.

    Raises:
        ValueError: If the text has no new word that is frequent enough.
    """
    if max_words is not None:
        check_count("max_words", max_words)
    ranked = rank_new_words(counts, vocabulary, min_count)
    num_cells = int(usable_cells(allocation).sum())
    limit = num_cells if max_words is None else min(num_cells, max_words)
    return dict(ranked[:limit]), dict(ranked[limit:])


def rank_new_words(
    counts: Mapping[str, int], vocabulary: Vocabulary, min_count: int, key: str = "min_count"
) -> list[tuple[str, int]]:
    """The new words that occur at least ``min_count`` times, with their counts, most frequent first.

    Args:
        counts: Number of occurrences of each word in a text.
        vocabulary: The current vocabulary.
        min_count: Words that occur less often are ignored.
        key: The name of ``min_count`` in messages.

    Raises:
        ValueError: If there is no such word.
    """
    check_count(key, min_count)
    new_words = [(word, count) for word, count in counts.items() if word not in vocabulary]
    ranked = sorted((item for item in new_words if item[1] >= min_count), key=lambda item: (-item[1], item[0]))
    if not ranked:
        raise ValueError(
            f"the text has {len(new_words)} words outside the vocabulary, none of which occurs at least {key}="
            f"{min_count} times; lower {key}, or use more text"
        )
    return ranked


def extended_vocabulary(vocabulary: Vocabulary, new: Iterable[str]) -> Vocabulary:
    """The vocabulary with new words appended, so that existing ids do not change.

    Counts refer to the training text, in which the new words do not occur, so their counts are 0.
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
    free: Bool[np.ndarray, "*sides"] | None = None,
) -> LanguageModel:
    """A copy of ``model`` with the same weights and an allocation that includes the new words.

    Args:
        model: A model of the first ``model.allocation.num_words`` words of ``vocabulary``.  It is not modified.
        config: The configuration of the model.
        vocabulary: The extended vocabulary.
        batches: A text encoded with the extended vocabulary.  It is iterated k + 1 times.
        solver: Solves the assignment of words to cells; None means ``AutoSolver``.
        free: The cells that may be filled; None for those of ``usable_cells``.
    """
    num_old = model.allocation.num_words
    num_new = len(vocabulary) - num_old
    free = usable_cells(model.allocation) if free is None else free
    assert vocabulary.unknown_id is not None
    filling = filling_costs(model, batches, vocabulary.unknown_id)
    codes = np.empty((num_new, 0), dtype=np.int64)
    allocation = grow_allocation(model.allocation, first_free_cells(codes, free))
    grown = _with_allocation(model, config, vocabulary, allocation)
    assert isinstance(grown.output, LinearCodeOutput)
    weights, biases = grown.output.axis_parameters()
    for axis, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        reassign_new_words(allocation, first_free_cells(codes, free))
        sums, counts = sum_states(grown, batches, axis, num_old, num_new, vocabulary.unknown_id)
        costs = -(sums @ weight.double().t() + counts[:, None] * bias.double())
        chosen, _ = solve_by_prefix(costs.cpu().numpy(), codes, free, solver, filling)
        codes = np.concatenate([codes, chosen[:, None]], axis=1)
    reassign_new_words(allocation, codes)
    return grown


@torch.no_grad()
def widen_model(model: LanguageModel, config: DictConfig, vocabulary: Vocabulary, number: int) -> LanguageModel:
    """A copy of ``model`` with ``number`` more codes of the last axis (columns), which no word has yet.

    The probabilities of words do not change.  The vectors and biases of the new codes are the means of the others.

    Args:
        model: A model for which :func:`check_shared_vectors` raises no error.  It is not modified.
        config: The configuration of the model.
        vocabulary: The words of the model.
        number: The number of additional codes.
    """
    parameter, sides = next(model.parameters()), model.allocation.sides
    allocation = WordAllocation(model.allocation.codes.cpu(), (*sides[:-1], sides[-1] + number))
    settings = as_plain(config)["model"]
    wider = assemble_model(settings, allocation, vocabulary, constructor_of, initialize=False)
    wider.to(parameter.device, parameter.dtype)
    shapes = {name: part.shape for name, part in wider.state_dict().items()}
    state = {name: part for name, part in model.state_dict().items() if part.shape == shapes[name]}
    wider.load_state_dict(state, strict=False)
    for before, after in zip(_axis_parts(model), _axis_parts(wider), strict=True):
        after[: len(before)] = before
        after[len(before) :] = before.mean(0)
    return wider.eval()


def _axis_parts(model: LanguageModel) -> list[Tensor]:
    """Views of the parameters of the codes, one axis after the other."""
    assert isinstance(model.output, LinearCodeOutput)
    weights, biases = model.output.axis_parameters()
    return [part for part in (*model.embedding.axis_vectors(), *weights, *biases) if part is not None]


@torch.no_grad()
def filling_costs(model: LanguageModel, batches: Iterable[Batch], unknown: int) -> np.ndarray:
    """The increase of the loss of existing words if a cell is filled, for each cell alone: nats, shape ``sides``.

    Args:
        model: The model before growing.
        batches: A text.  Words that the model does not have are read as the unknown word and not counted.
        unknown: The id of the unknown word.
    """
    assert isinstance(model.output, LinearCodeOutput)
    allocation, device = model.allocation, next(model.parameters()).device
    last = allocation.num_components - 1
    weight, bias = (parts[last] for parts in model.output.axis_parameters())
    allowed = allocation.allowed(last)
    assert allowed is not None, "an allocation with empty cells has masks"
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


def _with_allocation(
    model: LanguageModel, config: DictConfig, vocabulary: Vocabulary, allocation: WordAllocation
) -> LanguageModel:
    """The same weights with another allocation."""
    parameter = next(model.parameters())
    # The codes are the only part of the state whose size depends on the vocabulary.
    state = {
        name: allocation.codes if name.endswith("allocation.codes") else part.cpu()
        for name, part in model.state_dict().items()
    }
    grown = restore_model(as_plain(config), allocation, vocabulary, state)
    return grown.to(parameter.device, parameter.dtype).eval()


@torch.no_grad()
def sum_states(
    model: LanguageModel, batches: Iterable[Batch], axis: int, num_old: int, num_new: int, unknown: int
) -> tuple[Tensor, Tensor]:
    """For each new word, sum (N, H) and number (N,) of the states that predict its code of ``axis``, in float64.

    Args:
        model: If ``axis`` is 0, the model may or may not have the new words.
        batches: A text encoded with the extended vocabulary.
        axis: The axis of the codes.
        num_old: The number of words before; the ids of new words follow.
        num_new: The number of new words.
        unknown: The id of the unknown word, as which new words are read.
    """
    device = next(model.parameters()).device
    sums = torch.zeros(num_new, model.output.hidden_dim, dtype=torch.float64, device=device)
    counts = torch.zeros(num_new, dtype=torch.float64, device=device)
    state: State | None = None
    for batch in batches:
        words, targets, mask, reset = (part.to(device) for part in batch)
        is_new = targets >= num_old
        words = words.masked_fill(words >= num_old, unknown)
        # In the first pass, new words have no codes yet.
        fed_targets = targets if axis else targets.masked_fill(is_new, unknown)
        hidden, state = model.hidden(words, fed_targets, state, reset)
        counted = is_new & mask
        indices = targets[counted] - num_old
        sums.index_add_(0, indices, hidden.unflatten(1, (targets.shape[1], -1))[:, :, axis][counted].double())
        counts.index_add_(0, indices, torch.ones(len(indices), dtype=torch.float64, device=device))
    return sums, counts
