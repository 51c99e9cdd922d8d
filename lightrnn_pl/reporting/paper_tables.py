"""The papers' own figures, as they print them, with their source (``paper/*.csv``).

Of a figure's curve only the points that the text gives in numbers are known; LightRNN's Figures 4 and 5 and Slim
Embedding's Figure 4 have none.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

_UNITS = {"": 1.0, "%": 0.01, "K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's table.

    Attributes:
        table: Its table, such as ``slim_table2``.
        row: Its name in there, such as ``SE 10K``.
        label: What it is called in a report.
        printed: Its figures as they are printed, by what they are: ``perplexity``, ``parameters``, ``bleu``, ...
    """

    table: str
    row: str
    label: str
    printed: Mapping[str, str] = field(default_factory=dict, hash=False)

    def number(self, what: str) -> float | None:
        """The figure as a number; None where the paper has none, or no more than a bound."""
        found = re.fullmatch(r"([\d.]+)([%KMG]?)", self.printed.get(what, ""))
        return float(found[1]) * _UNITS[found[2]] if found else None

    @property
    def perplexity(self) -> float | None:
        """Of the test text."""
        return self.number("perplexity")

    @property
    def parameters(self) -> float | None:
        """Word tables not counted."""
        return self.number("parameters")


@dataclass(frozen=True)
class PaperTable:
    """A table or figure of a paper, with the rows whose figures are known, in its order."""

    name: str
    title: str
    source: str
    rows: Mapping[str, PaperRow]


@functools.cache
def paper_tables() -> dict[str, PaperTable]:
    """All tables by name, in the papers' order."""
    return {
        line["table"]: PaperTable(line["table"], line["title"], line["source"], _rows(line["table"]))
        for line in _lines("tables")
    }


def paper_row(config: Mapping[str, Any]) -> PaperRow | None:
    """The row that a run's configuration names by its node ``paper``; without figures where the paper has none."""
    node = config.get("paper")
    if not isinstance(node, dict) or not node.get("table"):
        return None
    table, row = str(node["table"]), str(node.get("row") or "")
    known = paper_tables().get(table)
    return known.rows[row] if known and row in known.rows else PaperRow(table, row, row or table)


def is_small(config: Mapping[str, Any]) -> bool:
    """Whether a run is a small-scale version of the paper's, whose figures are not a reproduction."""
    node = config.get("paper")
    return isinstance(node, dict) and bool(node.get("table")) and node.get("scale") != "paper"


def _rows(table: str) -> dict[str, PaperRow]:
    found = {}
    for line in _lines(table):
        row = line.pop("row")
        label = line.pop("label", row)
        found[row] = PaperRow(table, row, label, {what: printed for what, printed in line.items() if printed})
    return found


def _lines(name: str) -> list[dict[str, str]]:
    path = resources.files("lightrnn_pl.reporting") / "paper" / f"{name}.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.is_file() else []
