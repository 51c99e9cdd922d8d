"""The golden losses: one loss per strategy after fifty training steps from a fixed seed, which refactorings must not
change.

After an intended change, ``python -m tests.nn.test_golden`` updates the file, and CHANGELOG.md must explain the change.
"""

import json
from pathlib import Path

import pytest
import torch

from lightrnn_pl.building import build_allocation, build_model
from lightrnn_pl.nn.cores import detach_state
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

FILE = Path(__file__).with_name("golden_losses.json")
STRATEGIES = {
    **{f"model={path.stem}": [] for path in Path(__file__).parents[2].glob("conf/model/[a-z]*.yaml")},
    "model/core=gru": [],
    "model/core=rnn": [],
    "model/core=mingru": [],
    "model.components=3": [],
    "model.tied=true": [],
    **{
        f"model/loss={loss}": ["model=full", "model.loss.num_samples=20"]
        for loss in ("nce", "importance_sampling", "blackout")
    },
    "model/map@model.embedding.map=hashed": ["model=hybrid"],
    "model/output/classes=frequency": ["model=hierarchical"],
    "model/embedding=projected": ["model=hybrid"],
    "model/output=adaptive_vectors": ["model=full"],
    "model.steps_per_word=2": ["model=row_word"],
    **{f"model/output=row_word_{vectors}": ["model=row_word"] for vectors in ("full", "hashed", "projected")},
}


def fifty_steps(*overrides: str) -> float:
    """Mean exact negative log-likelihood of a random text after fifty training steps on it."""
    vocabulary = Vocabulary([f"w{number}" for number in range(40)], range(80, 40, -1))
    config = compose_overrides(*overrides, "model.hidden_dim=40", "model.num_layers=1", "model.dropout=0.0")
    torch.manual_seed(0)
    model = build_model(config, build_allocation(config, vocabulary), vocabulary)
    generator = torch.Generator().manual_seed(1)
    # Each word is followed by one of three words, so that there is something to learn.
    successors = torch.randint(40, (40, 3), generator=generator)
    text = torch.zeros(4, 251, dtype=torch.int64)
    for position in range(1, 251):
        choice = torch.randint(3, (4, 1), generator=generator)
        text[:, position] = successors[text[:, position - 1]].gather(1, choice)[:, 0]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    state = None
    for step in range(50):
        window = text[:, 5 * step : 5 * step + 6]
        losses, state = model(window[:, :-1], window[:, 1:], state)
        state = detach_state(state)
        optimizer.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    with torch.no_grad():
        return -float(model.eval().score(text[:, :-1], text[:, 1:])[0].mean())


def measure(strategy: str) -> float:
    base = STRATEGIES[strategy]
    return fifty_steps(strategy, *base)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_golden_loss(strategy):
    # The order of summation depends on the machine, and fifty steps amplify the differences.
    assert measure(strategy) == pytest.approx(json.loads(FILE.read_text())[strategy], rel=1e-4)


def test_golden_losses_cover_all_strategies():
    assert json.loads(FILE.read_text()).keys() == STRATEGIES.keys()


if __name__ == "__main__":
    FILE.write_text(json.dumps({strategy: round(measure(strategy), 6) for strategy in STRATEGIES}, indent=2) + "\n")
