"""The results of rescoring: systems with their features, weights and metric, as a table and for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.rescoring.references import References
from lightrnn_pl.rescoring.reranking import Reranker


@dataclass
class System:
    """A set of features with tuned weights and its results.

    Attributes:
        name: The name of the system in the table.
        features: The features added to the list that the system uses.
        reranker: Selects hypotheses with the weights of the system.
        dev: The metric on the list used for tuning.
        perplexity: Perplexity of the language model on the first references of test, if the system uses exactly one.
    """

    name: str
    features: tuple[str, ...]
    reranker: Reranker
    dev: float | None = None
    perplexity: float | None = None

    def as_dict(self, references: type[References], measured: bool) -> dict[str, Any]:
        """The results as plain Python types, for JSON.  The metric on test is None unless ``measured``."""
        metric = references.metric.lower()
        weights = self.reranker.weights
        return {
            "name": self.name,
            f"dev_{metric}": self.dev,
            f"test_{metric}": float(references.value(self.reranker.counts)) if measured else None,
            "perplexity": self.perplexity,
            "weights": None if weights is None else self.reranker.layout.by_name(weights),
        }


def print_systems(systems: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Print perplexity and ``metric`` of each system (Slim Embedding, Table 6), given their ``as_dict``."""
    table = Table(title="reranking", title_justify="left")
    table.add_column("")
    columns = [("perplexity", "perplexity")]
    columns += [(f"{metric} {split}", f"{split}_{metric.lower()}") for split in ("dev", "test")]
    used = [(title, key) for title, key in columns if any(system[key] is not None for system in systems)]
    for title, _ in used:
        table.add_column(title, justify="right", no_wrap=True)
    for system in systems:
        values = ("" if system[key] is None else f"{system[key]:,.2f}" for _, key in used)
        table.add_row(Text(system["name"]), *values)
    console = Console(highlight=False)
    console.print(table)
    if any(system["perplexity"] is not None for system in systems):
        console.print(
            "perplexity: first references of test, state reset at every line, including end markers; comparable only "
            "between models with the same vocabulary"
        )
