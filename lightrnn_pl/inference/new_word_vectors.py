"""Adding words to a trained model in which every word has vectors of its own.

Existing words keep their ids, their vectors and their row.

One softmax over full or projected vectors.  A new word starts from the vectors of the unknown word, because the model
has read it and predicted it as this word so far.  The probability of the unknown word is divided in proportion to the
counts in the new text, n_w of the new words and n_u of the words that remain unknown, so that the probabilities of all
other words do not change:

    b_w = b_u + log(n_w / n)        b_u becomes b_u + log(n_u / n)        n = n_u + sum_w n_w

The row of a word, then the word, and adaptive vectors.  The vectors of rare words have another size than that of the
unknown word, and compete with few words.  A new word starts from the means of the vectors and biases of the rarest
words.  Its row is one of those that minimize the loss of predicting the rows of all new words, as in a reallocation
(LightRNN, section 3.2).  The table gets more columns, which have no parameters.  Rows keep their probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from lightrnn_pl.allocation.new_word_cells import cells_of_new_columns, first_free_cells, solve_by_prefix
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import as_config, as_plain, assemble_model
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.inference.vocabulary_growth import sum_states
from lightrnn_pl.nn.adaptive_vectors import AdaptiveVectors
from lightrnn_pl.nn.embeddings.adaptive import AdaptiveEmbedding
from lightrnn_pl.nn.embeddings.full import FullEmbedding
from lightrnn_pl.nn.embeddings.projected import ProjectedEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs.softmax import MatrixOutput, SoftmaxOutput
from lightrnn_pl.nn.outputs.word_codes import WordVectorOutput
from lightrnn_pl.stored_model import constructor_of, restore_model
from lightrnn_pl.vocabulary import Vocabulary


def check_own_vectors(model: LanguageModel, vocabulary: Vocabulary) -> None:
    """Check that new words can get vectors of their own.

    Raises:
        ValueError: If not.  The message contains the reason and models that allow it.
    """
    reads_vectors = isinstance(model.embedding, FullEmbedding | ProjectedEmbedding | AdaptiveEmbedding)
    predicts_vectors = isinstance(_softmax(model), MatrixOutput) or "output" in _adaptive_vectors(model)
    if not (reads_vectors and predicts_vectors):
        raise ValueError(
            f"{type(model.embedding).__name__} with {type(model.output).__name__} cannot get vectors for new words; "
            "only model=lightrnn, full, projected and row_word_adaptive can grow"
        )
    if vocabulary.unknown_id is None:
        raise ValueError(
            "new words start from the unknown word, but the vocabulary has none; train with "
            "data.vocabulary.unknown='<unk>'"
        )


@torch.no_grad()
def add_word_vectors(
    model: LanguageModel,
    config: DictConfig,
    vocabulary: Vocabulary,
    counts: Mapping[str, int],
    batches: Iterable[Batch],
) -> tuple[LanguageModel, DictConfig]:
    """The model with the words of ``vocabulary``, on the CPU, and its configuration.

    Args:
        model: A model for which :func:`check_own_vectors` raises no error.  It is not modified.
        config: The configuration of the model.
        vocabulary: The words of the model, followed by new words.
        counts: Number of occurrences of each word in a text with the new words.
        batches: This text, encoded with ``vocabulary``.  It is iterated once if words have rows.
    """
    num_old = model.allocation.num_words
    allocation = _with_new_words(model, vocabulary, batches)
    config = _with_fixed_sizes(model, config, allocation)
    settings = as_plain(config)
    larger = assemble_model(settings["model"], allocation, vocabulary, constructor_of, initialize=False)
    shapes = {name: tensor.shape for name, tensor in larger.state_dict().items()}
    unknown = vocabulary.unknown_id if _starts_from_unknown(model) else None
    num_rare = num_old - _first_rare_word(model)
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if name.endswith("allocation.codes"):
            state[name] = allocation.codes
        elif name.endswith(".positions"):  # the vectors of new words are stored last
            state[name] = torch.cat([tensor, torch.arange(num_old, len(vocabulary), dtype=tensor.dtype)])
        elif tensor.shape != shapes[name]:
            start = tensor[-num_rare:].mean(0) if unknown is None else tensor[unknown]
            state[name] = torch.cat([tensor, start.expand(shapes[name][0] - len(tensor), *tensor.shape[1:])])
    if unknown is not None:
        _divide_probability(state["output.bias"], unknown, vocabulary, counts, num_old)
    return restore_model(settings, allocation, vocabulary, state).eval(), config


def _softmax(model: LanguageModel) -> SoftmaxOutput | None:
    """The output that defines the vectors and biases of words."""
    output = getattr(model.output, "vectors", None) if isinstance(model.output, WordVectorOutput) else model.output
    return output if isinstance(output, SoftmaxOutput) else None


def _starts_from_unknown(model: LanguageModel) -> bool:
    """Whether new words start from the unknown word instead of from the rarest words."""
    return isinstance(model.output, MatrixOutput) and not isinstance(model.embedding, AdaptiveEmbedding)


def _adaptive_vectors(model: LanguageModel) -> dict[str, AdaptiveVectors]:
    """The adaptive vectors of the embedding and of the output, if they have some."""
    parts = {"embedding": model.embedding, "output": _softmax(model)}
    vectors = {name: getattr(part, "vectors", None) for name, part in parts.items()}
    return {name: part for name, part in vectors.items() if isinstance(part, AdaptiveVectors)}


def _first_rare_word(model: LanguageModel) -> int:
    """The first word of the last band of adaptive vectors, or that of the rarest quarter."""
    return max(
        (vectors.bands[-1].start for vectors in _adaptive_vectors(model).values()),
        default=model.allocation.num_words * 3 // 4,
    )


def _with_new_words(model: LanguageModel, vocabulary: Vocabulary, batches: Iterable[Batch]) -> WordAllocation:
    """The allocation of all words; the rows of new words are those in which predicting them costs least."""
    num_words, num_old = len(vocabulary), model.allocation.num_words
    if not isinstance(model.output, WordVectorOutput):
        return WordAllocation.in_order(num_words, (num_words,))
    free = cells_of_new_columns(model.allocation, num_words - num_old)
    assert vocabulary.unknown_id is not None
    sums, occurrences = sum_states(model, batches, 0, num_old, num_words - num_old, vocabulary.unknown_id)
    weight, bias = (part.double() for part in model.output.row_parameters())
    costs = -(sums @ weight.T + occurrences[:, None] * bias)
    rows, _ = solve_by_prefix(costs.cpu().numpy(), np.empty((len(costs), 0), dtype=np.int64), free)
    new_codes = torch.from_numpy(first_free_cells(rows[:, None], free))
    num_rows, num_columns = model.allocation.sides
    new_codes[:, 1] += num_columns
    codes = torch.cat([model.allocation.codes.cpu().long(), new_codes])
    return WordAllocation(codes, (num_rows, num_columns + free.shape[1]))


def _with_fixed_sizes(model: LanguageModel, config: DictConfig, allocation: WordAllocation) -> DictConfig:
    """The configuration, with values where it has rules that depend on the number of words."""
    config = as_config(as_plain(config))
    settings = config.model
    for part, vectors in _adaptive_vectors(model).items():
        cutoffs = [band.start for band in vectors.bands[1:]]
        settings[part].cutoffs = cutoffs
        if "cutoffs" in settings:
            settings.cutoffs = cutoffs
    if settings.get("row_sizes") is not None:
        settings.row_sizes = None
    if allocation.num_components > 1:
        settings.sides = list(allocation.sides)
    return config


def _divide_probability(
    bias: Tensor, unknown: int, vocabulary: Vocabulary, counts: Mapping[str, int], num_old: int
) -> None:
    """Divide the probability of the unknown word among it and the new words, by their biases, in place."""
    remaining = sum(count for word, count in counts.items() if word not in vocabulary or word == vocabulary.unknown)
    numbers = [*(counts[word] for word in vocabulary.words[num_old:]), max(1, remaining)]
    logs = (torch.tensor(numbers, dtype=torch.float64) / sum(numbers)).log().to(bias.dtype)
    bias[num_old:] += logs[:-1]
    bias[unknown] += logs[-1]
