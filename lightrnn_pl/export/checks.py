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


def require_same_bundle(expected: Bundle, found: Bundle) -> None:
    """Refuse a bundle that differs in anything, a single bit of a weight included.

    Raises:
        ValueError: Naming what differs.
    """
    require_same_state(expected.model.state_dict(), found.model.state_dict())
    for what in ("config", "protocol", "metrics"):
        if getattr(expected, what) != getattr(found, what):
            raise ValueError(f"the {what} did not come back as it was exported; nothing was exported")
    if expected.vocabulary.state_dict() != found.vocabulary.state_dict():
        raise ValueError("the vocabulary did not come back as it was exported; nothing was exported")


def require_same_state(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Refuse tensors of which a single bit differs; see ``require_same_bundle``."""
    if expected.keys() != found.keys():
        names = ", ".join(sorted(expected.keys() ^ found.keys()))
        raise ValueError(f"tensors are missing or new in what was written: {names}; nothing was exported")
    for name, tensor in expected.items():
        same = tensor.dtype == found[name].dtype and tensor.shape == found[name].shape
        if not same or _bits(tensor) != _bits(found[name]):
            raise ValueError(f"the tensor {name} did not come back as it was exported; nothing was exported")


class Difference(NamedTuple):
    """The largest differences of natural-log probabilities along a text.

    Attributes:
        of_text: Of the words of the text.
        of_any: Of any word at any place; with several codes, of any code given the true ones before it.
    """

    of_text: float
    of_any: float


def largest_difference(bundle: Bundle, client: OnnxModel, words: Sequence[int]) -> Difference:
    """How far what the graphs give along a text is from what PyTorch gives.

    Args:
        bundle: The model.
        client: Its export.
        words: Ids of the text; read from the start of a line, the state carried through.
    """
    decoder, output, allocation = bundle.decoder, bundle.model.output, bundle.model.allocation
    of_text, of_any = [0.0], [0.0]
    state, position = decoder.start(1), client.start(1)
    for word in words:
        read = torch.tensor([word])
        if decoder.num_codes == 1:
            of_any.append(_apart(decoder.log_probabilities(state), position.first))
        else:
            assert isinstance(output, CodeOutput)
            with torch.no_grad():
                first = output.code_log_probabilities(0, state.hidden, torch.zeros(1, dtype=torch.int64))
                of_any.append(_apart(first, position.first))
                core, client_state = state.core, position.state
                for axis in range(1, decoder.num_codes):
                    prefix = allocation.prefixes(allocation.encode(read), axis)
                    scores, core = open_prefixes(bundle.model, core, prefix, axis)
                    found, client_state = client.run(axis, prefix.numpy(), client_state)
                    of_any.append(_apart(scores, found))
        expected, state = decoder.step(state, read)
        score, client_state = client.spell(position, np.array([word]))
        of_text.append(_apart(expected, score))
        position = client.read(np.array([word]), client_state)
    return Difference(float(np.max(of_text)), float(np.max(of_any)))


def onnx_perplexity(client: OnnxModel, batches: Iterable[Batch]) -> float:
    """Perplexity as ``evaluation.perplexity`` measures it, of the graphs: word by word, the state carried."""
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
        raise ValueError("the validation text has no words; give another with valid=")
    return perplexity(total / count)


def first_words(batches: Iterable[Batch], most: int | None) -> Iterator[Batch]:
    """Whole windows until ``most`` words have been given; all of them for None."""
    given = 0
    for batch in batches:
        if most is not None and given >= most:
            return
        given += int(batch[2].sum())
        yield batch


def drawn_words(bundle: Bundle, number: int) -> list[int]:
    """Words drawn by their counts in the training text, for a check where no text is at hand."""
    counts = bundle.vocabulary.counts + 1.0
    return np.random.default_rng(0).choice(len(counts), number, p=counts / counts.sum()).tolist()


def _bits(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _apart(expected: Tensor, found: NDArray[np.float32]) -> float:
    """The largest difference; infinite where only one of the two has no such code."""
    one, other = expected.double().numpy(), found.astype(np.float64)
    impossible = np.isneginf(one)
    if (impossible != np.isneginf(other)).any() or not np.isfinite(other[~impossible]).all():
        return float("inf")
    return float(np.abs(one[~impossible] - other[~impossible]).max(initial=0.0))
