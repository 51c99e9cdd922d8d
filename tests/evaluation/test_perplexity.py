"""Perplexity compared with loops and with torchmetrics, and the tokens it counts."""

import math

import pytest
import torch
from torchmetrics.text import Perplexity as OraclePerplexity

from lightrnn_pl.evaluation.perplexity import BIN_EDGES, bin_text, mean_nll, measure_perplexity
from tests.evaluation.slow_perplexity import prepare, slow_scores

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["model=full"], id="full"),
        pytest.param(["model.sides=[8,8]"], id="k=2 with empty cells"),
        pytest.param(["model.components=3", "model/core=gru"], id="k=3"),
    ],
)
def test_equals_slow_reference(overrides, tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "data.vocabulary.min_count=20", *overrides)
    lines = tiny_text["test"].read_text().splitlines()
    vocabulary = data.vocabulary
    measured = measure_perplexity(model, data.evaluation_dataloader("test"), vocabulary, CPU)
    targets, scores = slow_scores(data, model, lines, streams=3)

    assert measured.nll == pytest.approx(-scores.mean(), rel=1e-6)
    assert measured.perplexity == pytest.approx(math.exp(-scores.mean()), rel=1e-5)
    not_end = targets != vocabulary.end_id
    assert measured.perplexity_without_end == pytest.approx(math.exp(-scores[not_end].mean()), rel=1e-5)
    known = targets != vocabulary.unknown_id
    assert measured.perplexity_without_unknown == pytest.approx(math.exp(-scores[known].mean()), rel=1e-5)
    assert measured.tokens == len(targets)
    assert measured.end_tokens == (~not_end).sum() == len(lines)
    assert measured.unknown_tokens == (targets == vocabulary.unknown_id).sum() > 0
    counts = vocabulary.counts[targets]
    for line, upper in zip(measured.bins, [line.at_least for line in measured.bins[1:]] + [math.inf], strict=True):
        inside = (counts >= line.at_least) & (counts < upper)
        assert line.at_least in BIN_EDGES and line.tokens == inside.sum()
        assert line.perplexity == pytest.approx(math.exp(-scores[inside].mean()), rel=1e-5)


def test_bins_add_up(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path)
    measured = measure_perplexity(model, data.evaluation_dataloader("test"), data.vocabulary, CPU)
    assert sum(line.tokens for line in measured.bins) == measured.tokens
    assert sum(line.tokens * math.log(line.perplexity) for line in measured.bins) == pytest.approx(
        measured.tokens * measured.nll
    )
    assert measured.as_dict()["bins"][0].keys() == {"at_least", "tokens", "perplexity"}


def test_full_softmax_agrees_with_torchmetrics(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "model=full")
    model.eval()
    oracle, state = OraclePerplexity(ignore_index=-100), None
    for batch in data.evaluation_dataloader("test"):
        with torch.no_grad():
            hidden, state = model.hidden(batch.inputs, batch.targets, state, batch.reset)
            scores = model.output.logits(hidden.flatten(0, 1)).view(*hidden.shape[:2], -1)
            oracle.update(
                scores,
                batch.targets.masked_fill(~batch.mask, -100),
            )
    measured = measure_perplexity(model, data.evaluation_dataloader("test"), data.vocabulary, CPU)
    assert measured.perplexity == pytest.approx(float(oracle.compute()), rel=1e-5)
    assert math.exp(mean_nll(model, data.evaluation_dataloader("test"), CPU)) == pytest.approx(measured.perplexity)


def test_without_an_end_marker_only_words_are_counted(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "data.vocabulary.end=null")
    measured = measure_perplexity(model, data.evaluation_dataloader("test"), data.vocabulary, CPU)
    assert measured.end_tokens == 0 and measured.perplexity == measured.perplexity_without_end
    assert measured.tokens == len(tiny_text["test"].read_text().split())


def test_a_begin_marker_is_read_but_not_counted(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "data.vocabulary.begin='<s>'", "data.vocabulary.end='</s>'")
    measured = measure_perplexity(model, data.evaluation_dataloader("test"), data.vocabulary, CPU)
    lines = tiny_text["test"].read_text().splitlines()
    assert measured.tokens == sum(len(line.split()) + 1 for line in lines) and measured.end_tokens == len(lines)


def test_dropout_is_disabled_and_the_training_mode_restored(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, "model.dropout=0.9")
    model.train()
    twice = [mean_nll(model, data.evaluation_dataloader("valid"), CPU) for _ in range(2)]
    assert twice[0] == twice[1] and model.training


def test_rejects_an_empty_text(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path)
    with pytest.raises(ValueError, match="no tokens"):
        measure_perplexity(model, [], data.vocabulary, CPU)


@pytest.mark.parametrize(
    ("at_least", "text"),
    [(0, "0"), (1, "1-9"), (10, "10-99"), (10_000, "10,000-99,999"), (1_000_000, "1,000,000 or more")],
)
def test_bins_are_named_by_their_range(at_least, text):
    assert bin_text(at_least) == text
