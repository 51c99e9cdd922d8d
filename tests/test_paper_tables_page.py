"""``docs/reference/paper_tables.md`` is current, and its counts are those of the models."""

import importlib.util
import sys
from pathlib import Path

import pytest

from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

SCRIPT = Path(__file__).parents[1] / "docs" / "paper_tables.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("paper_tables_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def experiments(script):
    return script.experiments()


def test_the_page_is_current(script, experiments):
    page = script.page(experiments, script.measured_rows())
    assert script.PAGE.read_text(encoding="utf-8") == page, "run python docs/paper_tables.py"


def test_different_numbers_of_parameters_are_explained(experiments):
    unexpected = {e.paper.row: e.note for e in experiments if e.is_unexpected}
    assert set(unexpected) == {"B-RNN", "LSTM-2048 Adaptive Softmax"}
    assert all("parameters" in note for note in unexpected.values())


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=char_hierarchical",),
        ("model=adaptive",),
        ("model=hashed",),
        ("model=lightrnn",),
        ("model=slim", "model/loss=nce"),
        ("model=projected", "model/core=rnn"),
    ],
)
def test_parameters_are_counted_without_allocating_them(overrides, script):
    config = compose_overrides(*overrides, "model.hidden_dim=40", "data=ptb", "data.expected.vocabulary=50")
    vocabulary = Vocabulary([f"w{number}" for number in range(50)], range(50, 0, -1))
    model = build_model(config, build_allocation(config, vocabulary), vocabulary)
    assert script.count_parameters(config) == sum(parameter.numel() for parameter in model.parameters())
