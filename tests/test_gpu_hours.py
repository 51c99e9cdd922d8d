"""The estimates of ``docs/reference/performance.md``: the formula, and the products of each kind of output."""

import importlib
import sys
from pathlib import Path

import pytest

from tests.composition import composed

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    yield importlib.import_module("gpu_hours")
    for name in ("gpu_hours", "paper_tables"):
        sys.modules.pop(name, None)


def test_cost_of_an_experiment(script):
    cost = script.cost_of(composed("train", "experiment=slim/table2", "paper.model=ne"))
    core, output = 2 * 8 * 300 * 300, 10_000 * 300
    assert cost.operations == 6 * (core + output)
    assert cost.sequential * 20 == 2 * cost.window
    assert cost.words == 929_589 * 25
    # Bound by the operations, and by the sequential steps.
    assert cost.hours(1.0, 0.0) == pytest.approx(cost.words * cost.operations / 1e12 / 3600)
    assert cost.hours(1e9, 30.0) == pytest.approx(cost.words / cost.window * 30e-6 * cost.sequential / 3600)


@pytest.mark.parametrize(
    ("overrides", "products"),
    [
        (["experiment=lightrnn/table2", "data=ptb", "paper.model=lightrnn-200"], 2 * 100 * 200),
        (["model=full", "data=ptb", "model.hidden_dim=8"], 10_000 * 8),
        (["model=full", "model/loss=nce", "data=ptb", "model.hidden_dim=8", "model.loss.num_samples=50"], 50 * 8),
        (["model=hierarchical", "data=ptb", "model.hidden_dim=8"], 200 * 8),
    ],
)
def test_products_of_outputs(script, overrides, products):
    config = composed("train", *overrides, "model.num_layers=1")
    steps, hidden = config.model.steps_per_word, config.model.hidden_dim
    assert script.cost_of(config).operations == 6 * (steps * 8 * hidden * hidden + products)
