"""A new output for several codes passes the contract, and works with evaluation, search and export."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lightrnn_pl
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import mean_nll, mean_nll_by_axis
from lightrnn_pl.export.step_modules import CodeStep
from lightrnn_pl.inference.decoding import Decoder
from lightrnn_pl.nn import outputs
from lightrnn_pl.nn.cores import LSTMCore
from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import CodeOutput
from lightrnn_pl.testing.code_output import CodeOutputContract
from lightrnn_pl.training.reallocation.gather_statistics import empty_statistics

PACKAGE = Path(lightrnn_pl.__file__).parent
ABSTRACT = {"Output", "CodeOutput", "LinearCodeOutput", "SoftmaxOutput", "WordVectorOutput"}


class QuadraticOutput(CodeOutput):
    """Logits that are quadratic in the hidden state, so that loss statistics cannot be gathered."""

    def __init__(self, allocation, hidden_dim):
        super().__init__(allocation, hidden_dim)
        self.weights = nn.ParameterList(torch.zeros(side, hidden_dim) for side in allocation.sides)

    def code_log_probabilities(self, axis, hidden, prefixes):
        logits = F.linear(hidden, self.weights[axis]).square()
        allowed = self.allocation.allowed(axis)
        return (logits if allowed is None else logits.masked_fill(~allowed[prefixes], -torch.inf)).log_softmax(-1)

    def axis_losses(self, hidden, targets):
        codes = self.allocation.encode(targets).flatten(0, 1)
        steps = hidden.reshape(len(codes), self.allocation.num_components, self.hidden_dim)
        losses = []
        for axis in range(self.allocation.num_components):
            logs = self.code_log_probabilities(axis, steps[:, axis], self.allocation.prefixes(codes, axis))
            losses.append(-logs.gather(1, codes[:, axis, None].long())[:, 0].view(targets.shape))
        return losses

    def word_vectors(self):
        codes = self.allocation.codes.long()
        return torch.cat([weight[codes[:, axis]] for axis, weight in enumerate(self.weights)], 1).detach()


class TestQuadraticOutput(CodeOutputContract):
    def make(self, allocation, hidden_dim):
        return QuadraticOutput(allocation, hidden_dim)

    def dense_logits(self, output, axis, hidden, codes):
        return (hidden @ output.weights[axis][codes].T) ** 2

    def comparable_words(self, output):
        return []  # logits are not linear, so no direction of the hidden state separates two words

    def expected_parameters(self, num_words, sides, hidden_dim):
        return sum(sides) * hidden_dim


@pytest.fixture
def model():
    torch.manual_seed(0)
    allocation = WordAllocation.random(11, (4, 5), seed=0)
    parts = (MultiComponentEmbedding(allocation, 6), LSTMCore(6, 5), QuadraticOutput(allocation, 5))
    return LanguageModel(*parts, init_scale=0.8).double().eval()


def test_evaluation_splits_the_loss_by_axis(model):
    text = torch.randint(11, (3, 9), generator=torch.Generator().manual_seed(1))
    mask, reset = torch.ones(3, 8, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    batches = [Batch(text[:, :-1], text[:, 1:], mask, reset)]
    by_axis = mean_nll_by_axis(model, batches, torch.device("cpu"))
    assert len(by_axis) == 2
    assert sum(by_axis) == pytest.approx(mean_nll(model, batches, torch.device("cpu")))


def test_search_finds_the_most_likely_words(model):
    decoder = Decoder(model, 1)
    state = decoder.state_after([[3], [4, 5]])
    dense = decoder.log_probabilities(state)
    torch.testing.assert_close(dense.exp().sum(1), torch.ones(2).double())
    torch.testing.assert_close(decoder.search(state, 4).log_probabilities, dense.topk(4).values)


@torch.no_grad()
def test_export_steps_compute_the_same_code_probabilities(model):
    state = tuple(torch.zeros(1, 1, 5).double() for _ in range(2))
    word = torch.tensor([3])
    codes = model.allocation.encode(word)
    rows, *state = CodeStep(model, 0, 0)(codes[:, 1], *state)
    columns, *_ = CodeStep(model, 1, 0)(codes[:, 0].long(), *state)
    actual = rows[0, codes[0, 0]] + columns[0, codes[0, 1]]
    expected, _ = model.score(torch.tensor([[3]]), word[None])
    torch.testing.assert_close(actual, expected[0, 0])


def test_loss_statistics_require_linear_logits(model):
    with pytest.raises(ValueError, match="QuadraticOutput does not support loss statistics"):
        empty_statistics(model)


def test_other_modules_do_not_name_concrete_outputs():
    concrete = set(outputs.__all__) - ABSTRACT
    assert "MultiComponentOutput" in concrete
    violations = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        if module.startswith(("nn/outputs/", "testing/")) or module == "__init__.py":  # exports the public layers
            continue
        names = {
            name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for name in (getattr(node, "name", None), getattr(node, "attr", None), getattr(node, "value", None))
            if isinstance(name, str)
        }
        if names & concrete:
            violations[module] = names & concrete
    assert not violations
