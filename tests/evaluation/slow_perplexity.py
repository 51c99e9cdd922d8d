"""Log-probabilities computed word by word, as a reference for fast evaluation."""

import itertools

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything

from lightrnn_pl.building import build_allocation, build_model, instantiate
from tests.training.runs import compose_run


def prepare(files, folder, *overrides):
    """A corpus and an untrained model whose predictions are far from uniform."""
    config = compose_run(folder / "run", files, "model.init_scale=0.8", *overrides)
    seed_everything(2, verbose=False)
    data = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    return data, build_model(config, build_allocation(config, data.vocabulary), data.vocabulary)


def slow_scores(data, model, lines: list[str], streams: int) -> tuple[np.ndarray, np.ndarray]:
    """The targets of a split and their log-probabilities, computed word by word over the whole vocabulary."""
    model = model.double().eval()
    words, vocabulary = [], data.vocabulary
    for line in lines:
        words += [*vocabulary.encode(line.split()).tolist(), vocabulary.end_id]
    all_words = torch.arange(len(vocabulary))[:, None]
    targets, scores = [], []
    bounds = [number * len(words) // streams for number in range(streams + 1)]
    for first, last in itertools.pairwise(bounds):
        state, previous = None, words[first - 1] if first else vocabulary.context_id
        for word in words[first:last]:
            before = (
                None if state is None else tuple(part.expand(-1, len(all_words), -1).contiguous() for part in state)
            )
            with torch.no_grad():
                all_scores, states = model.score(torch.full_like(all_words, previous), all_words, before)
            assert float(all_scores.exp().sum()) == pytest.approx(1, abs=1e-9)
            targets.append(word)
            scores.append(float(all_scores[word, 0]))
            state = tuple(part[:, word : word + 1] for part in states)
            previous = word
    return np.array(targets), np.array(scores)
