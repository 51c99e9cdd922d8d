"""Traceable steps compared with the decoder, for every kind of model."""

import pytest
import torch

from lightrnn_pl.export.step_modules import LAST_CODE, CodeStep
from lightrnn_pl.inference.top_k import open_prefixes
from tests.export.bundles import MODELS, bundle_of

MAX_BYTES = 2**20


def steps_of(model):
    return [CodeStep(model, axis, MAX_BYTES).eval() for axis in range(model.allocation.num_components)]


def zeros(model, batch):
    return list(model.core.zero_state(torch.zeros(batch, 1, 1)))


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_steps_equal_those_of_the_decoder(name):
    bundle = bundle_of(name)
    model, decoder, allocation = bundle.model, bundle.decoder, bundle.model.allocation
    first, *later = steps_of(model)
    text = torch.randint(len(bundle.vocabulary), (6, 3), generator=torch.Generator().manual_seed(1))
    codes = allocation.encode(text)

    def read(words, own):
        return own[:, -1] if first.reads == LAST_CODE else words

    context = torch.full((3,), bundle.vocabulary.context_id)
    state, expected = zeros(model, 3), decoder.start(3)
    scores, *state = first(read(context, allocation.encode(context)), *state)
    for words, own in zip(text, codes, strict=True):
        if not later:
            torch.testing.assert_close(scores, decoder.log_probabilities(expected), atol=1e-5, rtol=1e-5)
        total, core = scores.gather(1, own[:, :1])[:, 0], expected.core
        for axis, step in enumerate(later, start=1):
            prefix = allocation.prefixes(own, axis)
            scores, *state = step(prefix, *state)
            dense, core = open_prefixes(model, core, prefix, axis)
            torch.testing.assert_close(scores, dense, atol=1e-5, rtol=1e-5)
            total = total + scores.gather(1, own[:, axis, None])[:, 0]
        torch.testing.assert_close(total, decoder.step(expected, words)[0], atol=1e-5, rtol=1e-5)
        expected = decoder.read(expected, words)
        scores, *state = first(read(words, own), *state)


def test_written_out_tables_are_listed_and_limited():
    model = bundle_of("hashed").model
    size = model.allocation.num_words * 12 * 4
    assert CodeStep(model, 0, size).written_out == {"vectors of all words": size, "output vectors": size}
    with pytest.raises(
        ValueError, match=r"HashedEmbedding computes its vectors .* raise largest_table, or export .*safetensors"
    ):
        CodeStep(model, 0, size - 1)
    assert CodeStep(bundle_of("full").model, 0, 0).written_out == {}
