"""Perplexity against plain loops and against torchmetrics; what it counts."""

import itertools
import math

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from torchmetrics.text import Perplexity as OraclePerplexity

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.evaluation.perplexity import BIN_EDGES, mean_nll, measure_perplexity
from tests.training.runs import compose_run

CPU = torch.device("cpu")


def prepare(files, folder, *overrides):
    """A corpus and an untrained model with opinions."""
    config = compose_run(folder / "run", files, "model.init_scale=0.8", *overrides)
    seed_everything(2, verbose=False)
    data = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    return data, build_model(config, build_allocation(config, data.vocabulary), data.vocabulary)


def slow_scores(data, model, lines: list[str], streams: int) -> tuple[np.ndarray, np.ndarray]:
    """Each target of a split and its log-probability: every stream word by word, every word of the vocabulary."""
    model = model.double().eval()
    words, vocabulary = [], data.vocabulary
    for line in lines:
        words += [*vocabulary.encode(line.split()).tolist(), vocabulary.end_id]
    every = torch.arange(len(vocabulary))[:, None]
    targets, scores = [], []
    bounds = [number * len(words) // streams for number in range(streams + 1)]
    for first, last in itertools.pairwise(bounds):
        state, previous = None, words[first - 1] if first else vocabulary.context_id
        for word in words[first:last]:
            before = None if state is None else tuple(part.expand(-1, len(every), -1).contiguous() for part in state)
            with torch.no_grad():
                all_scores, states = model.score(torch.full_like(every, previous), every, before)
            assert float(all_scores.exp().sum()) == pytest.approx(1, abs=1e-9)
            targets.append(word)
            scores.append(float(all_scores[word, 0]))
            state = tuple(part[:, word : word + 1] for part in states)
            previous = word
    return np.array(targets), np.array(scores)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["model=full"], id="full"),
        pytest.param(["model.sides=[8,8]"], id="k=2 with empty cells"),
        pytest.param(["model.components=3", "model/core=gru"], id="k=3"),
    ],
)
def test_equals_plain_loops(overrides, tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "data.vocabulary.min_count=20", *overrides)
    lines = tiny_text["test"].read_text().splitlines()
    vocabulary = data.vocabulary
    found = measure_perplexity(model, data.evaluation_dataloader("test"), vocabulary, CPU)
    targets, scores = slow_scores(data, model, lines, streams=3)

    assert found.nll == pytest.approx(-scores.mean(), rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(-scores.mean()), rel=1e-5)
    not_end = targets != vocabulary.end_id
    assert found.perplexity_without_end == pytest.approx(math.exp(-scores[not_end].mean()), rel=1e-5)
    assert found.tokens == len(targets)
    assert found.end_tokens == (~not_end).sum() == len(lines)
    assert found.unknown_tokens == (targets == vocabulary.unknown_id).sum() > 0
    counts = vocabulary.counts[targets]
    for line, upper in zip(found.bins, [line.at_least for line in found.bins[1:]] + [math.inf], strict=True):
        inside = (counts >= line.at_least) & (counts < upper)
        assert line.at_least in BIN_EDGES and line.tokens == inside.sum()
        assert line.perplexity == pytest.approx(math.exp(-scores[inside].mean()), rel=1e-5)


def test_bins_add_up(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path)
    found = measure_perplexity(model, data.evaluation_dataloader("test"), data.vocabulary, CPU)
    assert sum(line.tokens for line in found.bins) == found.tokens
    assert sum(line.tokens * math.log(line.perplexity) for line in found.bins) == pytest.approx(
        found.tokens * found.nll
    )
    assert found.as_dict()["bins"][0].keys() == {"at_least", "tokens", "perplexity"}


def test_full_softmax_agrees_with_torchmetrics(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "model=full")
    model.eval()
    oracle, state = OraclePerplexity(ignore_index=-100), None
    for batch in data.evaluation_dataloader("test"):
        with torch.no_grad():
            hidden, state = model.hidden(batch.inputs, batch.targets, state, batch.reset)
            scores = model.output.scores(hidden.flatten(0, 1)).view(*hidden.shape[:2], -1)
            oracle.update(
                scores,
                batch.targets.masked_fill(~batch.mask, -100),
            )
    found = measure_perplexity(model, data.evaluation_dataloader("test"), data.vocabulary, CPU)
    assert found.perplexity == pytest.approx(float(oracle.compute()), rel=1e-5)
    assert math.exp(mean_nll(model, data.evaluation_dataloader("test"), CPU)) == pytest.approx(found.perplexity)


def test_without_an_end_marker_nothing_else_is_counted(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "data.vocabulary.end=null")
    found = measure_perplexity(model, data.evaluation_dataloader("test"), data.vocabulary, CPU)
    assert found.end_tokens == 0 and found.perplexity == found.perplexity_without_end
    assert found.tokens == len(tiny_text["test"].read_text().split())


def test_a_begin_marker_is_read_and_never_counted(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "data.vocabulary.begin='<s>'", "data.vocabulary.end='</s>'")
    found = measure_perplexity(model, data.evaluation_dataloader("test"), data.vocabulary, CPU)
    lines = tiny_text["test"].read_text().splitlines()
    assert found.tokens == sum(len(line.split()) + 1 for line in lines) and found.end_tokens == len(lines)


def test_dropout_is_off_and_the_mode_comes_back(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "model.dropout=0.9")
    model.train()
    twice = [mean_nll(model, data.evaluation_dataloader("valid"), CPU) for _ in range(2)]
    assert twice[0] == twice[1] and model.training


def test_an_empty_text_is_refused(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path)
    with pytest.raises(ValueError, match="no tokens"):
        measure_perplexity(model, [], data.vocabulary, CPU)
