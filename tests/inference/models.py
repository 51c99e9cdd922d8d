"""A model of sixty words with random weights, for tests of decoding."""

import torch

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.nn.cores import GRUCore
from lightrnn_pl.nn.embeddings import MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import MultiComponentOutput
from lightrnn_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary(
    ["<unk>", "<eos>", *(f"w{number}" for number in range(58))], range(60, 0, -1), "<unk>", None, "<eos>"
)


def build(sides: tuple[int, ...], scale: float = 0.8) -> LanguageModel:
    """A model of sixty words in an allocation with empty cells, in float64."""
    torch.manual_seed(0)
    cells = torch.randperm(int(torch.tensor(sides).prod()), generator=torch.Generator().manual_seed(3))[:60]
    table = WordAllocation(torch.stack(torch.unravel_index(cells, sides), -1), sides)
    output = MultiComponentOutput(table, 9)
    return LanguageModel(MultiComponentEmbedding(table, 7), GRUCore(7, 9), output, init_scale=scale).double().eval()


def sharpened(model: LanguageModel, factor: float) -> LanguageModel:
    """The model with output weights scaled by ``factor``.  With a large factor, few rows need to be opened."""
    with torch.no_grad():
        model.output.weight.mul_(factor)
    return model
