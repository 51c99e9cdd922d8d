"""Verifies an export against the trained model on real text before the export is reported as done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.export.onnx_client import OnnxModel
from lightrnn_pl.inference.top_k import open_prefixes
from lightrnn_pl.nn.outputs import CodeOutput


def require_same_bundle(expected: Bundle, loaded: Bundle) -> None:
    """Check that two bundles are identical, including every bit of their weights.

    Raises:
        ValueError: Naming the part that differs.
    """
    require_same_state(expected.model.state_dict(), loaded.model.state_dict())
    for part in ("config", "protocol", "metrics"):
        if getattr(expected, part) != getattr(loaded, part):
            raise ValueError(f"the exported {part} differs from the original; nothing was exported")
    if expected.vocabulary.state_dict() != loaded.vocabulary.state_dict():
        raise ValueError("the exported vocabulary differs from the original; nothing was exported")


def require_same_state(expected: dict[str, Tensor], loaded: dict[str, Tensor]) -> None:
    """Check that two state dictionaries are bit-identical.

    Raises:
        ValueError: Naming the tensors that differ.
    """
    if expected.keys() != loaded.keys():
        names = ", ".join(sorted(expected.keys() ^ loaded.keys()))
        raise ValueError(f"the export has missing or additional tensors: {names}; nothing was exported")
    for name, tensor in expected.items():
        same = tensor.dtype == loaded[name].dtype and tensor.shape == loaded[name].shape
        if not same or _bits(tensor) != _bits(loaded[name]):
            raise ValueError(f"the exported tensor {name} differs from the original; nothing was exported")


class Difference(NamedTuple):
    """Differences of natural-log probabilities along a text.

    Attributes:
        perplexity: The relative increase of the perplexity of the text.
        text_words: The largest difference for the words of the text.
        all_codes: The largest difference for any word at any position; with several codes per word, for any code given
            the preceding codes of the text's word.
    """

    perplexity: float
    text_words: float
    all_codes: float


def compare_steps(bundle: Bundle, client: OnnxModel, words: Sequence[int]) -> Difference:
    """The differences between the exported steps and PyTorch along a text.

    Args:
        bundle: The model.
        client: The exported model.
        words: Ids of the text, which is read from the start of a line; the state is carried from word to word.
    """
    decoder, output, allocation = bundle.decoder, bundle.model.output, bundle.model.allocation
    text_words, all_codes, losses = [0.0], [0.0], []
    state, position = decoder.start(1), client.start(1)
    for word in words:
        read = torch.tensor([word])
        if decoder.num_codes == 1:
            all_codes.append(_max_difference(decoder.log_probabilities(state), position.first))
        else:
            assert isinstance(output, CodeOutput)
            with torch.no_grad():
                first = output.code_log_probabilities(0, state.hidden, torch.zeros(1, dtype=torch.int64))
                all_codes.append(_max_difference(first, position.first))
                core, client_state = state.core, position.state
                for axis in range(1, decoder.num_codes):
                    prefix = allocation.prefixes(allocation.encode(read), axis)
                    scores, core = open_prefixes(bundle.model, core, prefix, axis)
                    client_scores, client_state = client.run(axis, prefix.numpy(), client_state)
                    all_codes.append(_max_difference(scores, client_scores))
        expected, state = decoder.step(state, read)
        score, client_state = client.spell(position, np.array([word]))
        text_words.append(_max_difference(expected, score))
        losses.append(expected.item() - score.item())
        position = client.read(np.array([word]), client_state)
    return Difference(perplexity(float(np.mean(losses))) - 1, float(np.max(text_words)), float(np.max(all_codes)))


def steps_perplexity(client: OnnxModel, batches: Iterable[Batch]) -> float:
    """The perplexity of the steps, measured like :func:`~lightrnn_pl.evaluation.perplexity.measure_perplexity`."""
    total, count = 0.0, 0
    state = None
    for inputs, targets, mask, reset in batches:
        state = client.zeros(len(inputs)) if state is None else state
        fresh = reset.numpy()
        for part in state:
            part[:, fresh] = 0
        for words, following, counted in zip(inputs.T.numpy(), targets.T.numpy(), mask.T.numpy(), strict=True):
            scores, state = client.spell(client.read(words, state), following)
            total -= float(scores[counted].sum(dtype=np.float64))
            count += int(counted.sum())
    if not count:
        raise ValueError("the validation text contains no words; pass another with valid=FILE")
    return perplexity(total / count)


def first_words(batches: Iterable[Batch], max_words: int | None) -> Iterator[Batch]:
    """Batches until they contain at least ``max_words`` words; all batches for None."""
    num_words = 0
    for batch in batches:
        if max_words is not None and num_words >= max_words:
            return
        num_words += int(batch[2].sum())
        yield batch


def random_words(bundle: Bundle, number: int) -> list[int]:
    """Words drawn according to their counts in the training text, for checks without a text."""
    counts = bundle.vocabulary.counts + 1.0
    return np.random.default_rng(0).choice(len(counts), number, p=counts / counts.sum()).tolist()


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _max_difference(expected: Tensor, actual: NDArray[np.float32]) -> float:
    """The largest absolute difference; infinite if a code is impossible in one of the two only."""
    one, other = expected.double().numpy(), actual.astype(np.float64)
    impossible = np.isneginf(one)
    if (impossible != np.isneginf(other)).any() or not np.isfinite(other[~impossible]).all():
        return float("inf")
    return float(np.abs(one[~impossible] - other[~impossible]).max(initial=0.0))
