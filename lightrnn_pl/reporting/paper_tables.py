"""The results of the papers, as printed, with their source (``paper/*.csv``).

For figures, only points that the paper states as numbers are included.  There are none for LightRNN's Figures 4 and 5
and Slim Embedding's Figure 4.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

_LANGUAGES = frozenset({"czech", "english", "french", "german", "russian", "spanish"})
_UNITS = {"": 1.0, "%": 0.01, "K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's table.

    Attributes:
        table: The name of the table, such as ``slim_table2``.
        row: The name of the row in that table, such as ``SE 10K``.
        label: The label of the row in a report.
        printed: Metric (``perplexity``, ``parameters``, ``bleu``, ...) -> its value as printed.
    """

    table: str
    row: str
    label: str
    printed: Mapping[str, str] = field(default_factory=dict, hash=False)

    def number(self, metric: str) -> float | None:
        """The value of a metric as a number; None if the paper has no value or only a bound."""
        match = re.fullmatch(r"([\d.]+)([%KMG]?)", self.printed.get(metric, ""))
        return float(match[1]) * _UNITS[match[2]] if match else None

    @property
    def language(self) -> str | None:
        """The language of the corpus, if the table has rows of several languages."""
        name = self.row.rpartition(" ")[2]
        return name if name in _LANGUAGES else None

    @property
    def perplexity(self) -> float | None:
        """The test perplexity."""
        return self.number("perplexity")

    @property
    def parameters(self) -> float | None:
        """The number of parameters, excluding word tables."""
        return self.number("parameters")


@dataclass(frozen=True)
class PaperTable:
    """A table or figure of a paper, with the rows whose values are known, in the paper's order."""

    name: str
    title: str
    source: str
    rows: Mapping[str, PaperRow]


@functools.cache
def paper_tables() -> dict[str, PaperTable]:
    """All tables by name, in the order of the papers."""
    return {
        line["table"]: PaperTable(line["table"], line["title"], line["source"], _rows(line["table"]))
        for line in _lines("tables")
    }


def paper_row(config: Mapping[str, Any]) -> PaperRow | None:
    """The row that the node ``paper`` of a run's configuration names; without values if the paper has none."""
    node = config.get("paper")
    if not isinstance(node, dict) or not node.get("table"):
        return None
    table, row = str(node["table"]), str(node.get("row") or "")
    paper_table = paper_tables().get(table)
    return paper_table.rows[row] if paper_table and row in paper_table.rows else PaperRow(table, row, row or table)


def paper_note(config: Mapping[str, Any]) -> str | None:
    """How a run's configuration deviates from its row of a paper, or why its number of parameters does; None if not."""
    node = config.get("paper")
    return node.get("note") if isinstance(node, dict) else None


def is_small(config: Mapping[str, Any]) -> bool:
    """Whether a run is a small-scale version of a row of a paper, and so does not reproduce its values."""
    node = config.get("paper")
    return isinstance(node, dict) and bool(node.get("table")) and node.get("scale") != "paper"


def _rows(table: str) -> dict[str, PaperRow]:
    rows = {}
    for line in _lines(table):
        row = line.pop("row")
        label = line.pop("label", row)
        rows[row] = PaperRow(table, row, label, {metric: printed for metric, printed in line.items() if printed})
    return rows


def _lines(name: str) -> list[dict[str, str]]:
    path = resources.files("lightrnn_pl.reporting") / "paper" / f"{name}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.is_file() else []
