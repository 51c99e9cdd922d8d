"""What rescoring brought: the ways to choose hypotheses beside each other, as people and as programs read it.

Knows neither lists nor models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.rescoring.reranking import Chooser
from lightrnn_pl.rescoring.tuning import corpus_bleu


@dataclass
class System:
    """A set of features, the weights tuned for it, and what it reaches.

    Attributes:
        name: As the table says.
        features: The new features among those it uses.
        chooser: Picks hypotheses.
        dev_bleu: On the list tuned on.
        perplexity: Of its one language model on the first references of test.
    """

    name: str
    features: tuple[str, ...]
    chooser: Chooser
    dev_bleu: float | None = None
    perplexity: float | None = None

    def as_dict(self, measured: bool) -> dict[str, Any]:
        """Plain numbers, for JSON; BLEU of test only if there were references to measure it with."""
        weights = self.chooser.weights
        return {
            "name": self.name,
            "dev_bleu": self.dev_bleu,
            "test_bleu": float(corpus_bleu(self.chooser.counts)) if measured else None,
            "perplexity": self.perplexity,
            "weights": None if weights is None else self.chooser.layout.named(weights),
        }


def print_systems(systems: Sequence[Mapping[str, Any]]) -> None:
    """The table of Slim Embedding, Table 6: perplexity and BLEU of each system, as ``System.as_dict`` has them."""
    table = Table(title="reranking", title_justify="left")
    table.add_column("")
    columns = (("perplexity", "perplexity"), ("BLEU dev", "dev_bleu"), ("BLEU test", "test_bleu"))
    shown = [(title, key) for title, key in columns if any(system[key] is not None for system in systems)]
    for title, _ in shown:
        table.add_column(title, justify="right", no_wrap=True)
    for system in systems:
        values = ("" if system[key] is None else f"{system[key]:,.2f}" for _, key in shown)
        table.add_row(Text(system["name"]), *values)
    console = Console(highlight=False)
    console.print(table)
    if any(system["perplexity"] is not None for system in systems):
        note = "perplexity: of the first references of test, every line from a fresh state, end markers counted"
        console.print(note, soft_wrap=True)
