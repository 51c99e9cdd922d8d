"""The table of keyboard numbers that several commands print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.evaluation.perplexity import bin_text


def print_keyboards(keyboards: Mapping[str, Mapping[str, Any]]) -> None:
    """Print accuracies and savings in percent, in total and by word count in the training text."""
    table = Table(
        title="keyboard: accuracy of the first suggestions, and keystroke savings, in %", title_justify="left"
    )
    for column in ("text", "word count", "words", "top 1", "top 3", "top 5", "saved"):
        table.add_column(column, justify="left" if column == "text" else "right")
    for text, keyboard in keyboards.items():
        for row in (keyboard["total"], *keyboard["bins"]):
            count = "all" if row["at_least"] is None else bin_text(row["at_least"])
            values = (f"{100 * row[key]:.2f}" for key in ("top1", "top3", "top5", "keystroke_savings"))
            table.add_row(Text(text if row["at_least"] is None else ""), count, f"{row['words']:,}", *values)
        table.add_section()
    Console().print(table)
