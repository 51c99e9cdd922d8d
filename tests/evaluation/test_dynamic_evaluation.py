"""Dynamic evaluation compared with a loop that applies the update rule with functional calls."""

import math

import pytest
import torch
from torch.func import functional_call

from lightrnn_pl.data.batches import StreamBatches
from lightrnn_pl.evaluation.dynamic_evaluation import Adaptation, DynamicEvaluation, gradient_statistics
from lightrnn_pl.evaluation.perplexity import word_losses
from tests.evaluation.slow_perplexity import prepare

CPU = torch.device("cpu")
SEGMENT = 3
WORDS = 24


def batches(data, split: str = "test", words: int = WORDS) -> StreamBatches:
    """The first words of a split as one stream."""
    tokens = data.loader_for(data.vocabulary, split).tokens[:words]
    return StreamBatches(tokens, 1, 7, context=data.vocabulary.context_id, drop_remainder=False)


class Scorer(torch.nn.Module):
    """Makes ``score`` the forward method, which functional calls need."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *arguments):
        return self.model.score(*arguments)


def segments(data, split: str = "test"):
    for batch in batches(data, split):
        for start in range(0, batch.inputs.shape[1], SEGMENT):
            yield batch.inputs[:, start : start + SEGMENT], batch.targets[:, start : start + SEGMENT]


def slow_scores(data, model, rate: float, decay: float, rms=None) -> torch.Tensor:
    """Log-probability of each word; checks that each is from a normalized distribution under the current weights."""
    scorer = Scorer(model)
    initial = {name: weight.detach().clone() for name, weight in scorer.named_parameters()}
    weights, state, result = dict(initial), None, []
    for inputs, targets in segments(data):
        leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        vocabulary = torch.arange(model.allocation.num_words)[:, None]
        expanded = None if state is None else tuple(part.repeat(1, len(vocabulary), 1) for part in state)
        first, _ = functional_call(scorer, leaves, (inputs[:, :1].repeat(len(vocabulary), 1), vocabulary, expanded))
        scores, state = functional_call(scorer, leaves, (inputs, targets, state))
        assert float(first.detach().exp().sum()) == pytest.approx(1)
        assert float(first.detach()[targets[0, 0]]) == pytest.approx(float(scores.detach()[0, 0]))
        state = tuple(part.detach() for part in state)
        result.append(scores.detach()[0])
        gradients = torch.autograd.grad(-scores.mean(), list(leaves.values()), allow_unused=True)
        for name, gradient in zip(leaves, gradients, strict=True):
            gradient = torch.zeros_like(weights[name]) if gradient is None else gradient
            scale, pull = 1.0, torch.tensor(decay)
            if rms is not None:
                total = sum(float(part.sum()) for part in rms.values())
                mean = total / sum(part.numel() for part in rms.values())
                scale, pull = rms[name] + 1e-3, (decay * rms[name] / mean).clamp(max=1)
            weights[name] = weights[name] - rate * gradient / scale + pull * (initial[name] - weights[name])
    return torch.cat(result)


def statistics_by_loop(data, model) -> dict[str, torch.Tensor]:
    names, squares, state = [name for name, _ in Scorer(model).named_parameters()], [], None
    for inputs, targets in segments(data, "train"):
        scores, state = model.score(inputs, targets, state)
        state = tuple(part.detach() for part in state)
        gradients = torch.autograd.grad(-scores.mean(), list(model.parameters()), materialize_grads=True)
        squares.append([gradient**2 for gradient in gradients])
    return {
        name: torch.stack(parts).mean(0).sqrt() for name, parts in zip(names, zip(*squares, strict=True), strict=True)
    }


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["model=full", "model.tied=true", "model.embedding_dim=8"], id="tied"),
        pytest.param([], id="lightrnn"),
        pytest.param(["model=row_word", "model.hidden_dim=10", "model/core=gru"], id="row and word"),
    ],
)
@pytest.mark.parametrize("method", ["sgd", "rms"])
def test_equals_the_update_rule(method, overrides, tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, *overrides)
    model = model.double().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    statistics = rms = None
    if method == "rms":
        statistics = gradient_statistics(model, batches(data, "train"), CPU, SEGMENT, max_words=WORDS)
        rms = statistics_by_loop(data, model)
        assert all(torch.allclose(part, rms[name]) for part, name in zip(statistics, rms, strict=True))
    expected = slow_scores(data, model, 0.02, 0.3, rms)
    dynamic = DynamicEvaluation(model, CPU, SEGMENT, statistics)
    scores = torch.cat([part for _, part in dynamic.scores(batches(data), Adaptation(0.02, 0.3))])
    assert torch.allclose(scores, expected, atol=1e-9)
    plain = torch.cat([part for _, part in dynamic.scores(batches(data), Adaptation(0.0, 0.0))])
    assert torch.equal(scores[:SEGMENT], plain[:SEGMENT]) and not torch.allclose(scores, plain)
    # The model itself is not changed.
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_without_learning_it_is_the_plain_perplexity(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path)
    losses = DynamicEvaluation(model.eval(), CPU, SEGMENT).losses(batches(data), Adaptation(0.0, 0.5))
    plain = word_losses(model, batches(data), CPU)
    assert torch.allclose(losses.nll, plain.nll, atol=1e-5) and torch.equal(losses.tokens, plain.tokens)


def test_words_are_scored_before_the_model_learns_from_them(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path)
    dynamic = DynamicEvaluation(model.eval(), CPU, SEGMENT)
    loader, changed = batches(data), batches(data)
    changed.tokens = changed.tokens.copy()
    changed.tokens[14:] = changed.tokens[14:][::-1]  # the third window
    scores, others = (
        torch.cat([part for _, part in dynamic.scores(each, Adaptation(0.1, 0.01))]) for each in (loader, changed)
    )
    assert torch.equal(scores[:14], others[:14]) and not torch.equal(scores[14:], others[14:])


def test_chooses_the_best_settings(tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path)
    dynamic = DynamicEvaluation(model.eval(), CPU, SEGMENT)
    rates, decays = [1e5, 0.0, 0.3], [0.5, 0.01]
    best, tokens = dynamic.tune(lambda: batches(data, "valid", 100), rates, decays, max_words=50)
    assert 50 <= tokens < 50 + SEGMENT

    def nll(rate: float, decay: float) -> float:
        total, number = 0.0, 0
        for targets, scores in dynamic.scores(batches(data, "valid", 100), Adaptation(rate, decay)):
            total, number = total - float(scores.sum()), number + len(targets)
            if number >= 50:
                break
        return math.inf if math.isnan(total) else total

    assert nll(best.learning_rate, best.decay) == min(nll(rate, decay) for rate in rates for decay in decays)
