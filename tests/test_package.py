"""The names at the top of the package: a model built from its layers, without a configuration."""

import pytest
import torch

import lightrnn_pl
from lightrnn_pl import (
    FullEmbedding,
    FullOutput,
    GRUCore,
    LanguageModel,
    LSTMCore,
    MultiComponentEmbedding,
    MultiComponentOutput,
    ShuffledMap,
    SlimEmbedding,
    SlimOutput,
    WordAllocation,
)

TABLE, LIST = WordAllocation.random(20, (4, 5), seed=0), WordAllocation.in_order(20, (20,))
MODELS = {
    "lightrnn": lambda: (MultiComponentEmbedding(TABLE, 8), LSTMCore(8, 8), MultiComponentOutput(TABLE, 8)),
    "full": lambda: (FullEmbedding(LIST, 8), GRUCore(8, 8), FullOutput(LIST, 8)),
    "slim": lambda: (
        *(SlimEmbedding(LIST, 8, None, ShuffledMap, compression=0.5), GRUCore(8, 8)),
        SlimOutput(LIST, 8, None, ShuffledMap, compression=0.5),
    ),
}


def test_every_name_can_be_imported():
    for name in lightrnn_pl.__all__:
        assert getattr(lightrnn_pl, name).__module__.startswith("lightrnn_pl.")
        assert name in dir(lightrnn_pl)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_can_be_built_from_layers_and_trained(name):
    torch.manual_seed(0)
    model = LanguageModel(*MODELS[name]())
    words = torch.randint(20, (3, 6))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(words[:, :-1], words[:, 1:])[0].mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    following = torch.arange(20)[:, None]
    total = model.eval().score(words[:1, :1].expand(20, 1), following)[0].exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-4)
