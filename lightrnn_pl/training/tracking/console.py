"""Terminal output: the size of the model, reallocations, and results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.number_text import epochs_text, perplexity_text

_MAX_NAME = 24
"""Characters per line of the name of a run."""


def print_model(model: LanguageModel) -> None:
    """Print the parameters and bytes of each part, of the maps of shared vectors, and of the word table."""
    table = Table(title="model", title_justify="left")
    for column, justify in (("part", "left"), ("layer", "left"), ("parameters", "right"), ("dtype", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("KiB", justify="right")
    parts = (model.embedding, model.core, model.output)
    for name, part in zip(("embedding", "core", "output"), parts, strict=True):
        parameters = list(part.parameters())
        count = sum(parameter.numel() for parameter in parameters)
        size = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
        dtype = str(parameters[0].dtype).removeprefix("torch.")
        table.add_row(name, type(part).__name__, f"{count:,}", dtype, f"{size / 1024:,.1f}")
    for name in ("embedding", "output"):
        part = getattr(model, name)
        if part.table_bytes:
            table.add_row(f"{name} map", "which vectors words share", "-", "", _kib(part.table_bytes))
    allocation = model.allocation
    if allocation.num_components > 1:
        sides = " x ".join(map(str, allocation.sides))
        dtype = str(allocation.codes.dtype).removeprefix("torch.")
        table.add_row("word table", f"{sides}, {allocation.num_words:,} words", "-", dtype, _kib(allocation.num_bytes))
    total = sum(model.num_bytes.values())
    table.add_section()
    table.add_row("all", "", f"{model.num_parameters:,}", "", _kib(total))
    if sum(parameter.numel() for part in parts for parameter in part.parameters()) > model.num_parameters:
        table.caption = "Embedding and output share vectors, which are counted once in the last row."
        table.caption_justify = "left"
    Console().print(table)


def print_reallocations(name: str, rounds: Sequence[Mapping[str, Any]]) -> None:
    """Print the predicted and the measured loss of each reallocation."""
    moves = [(summary["round"], summary["reallocation"]) for summary in rounds if summary.get("reallocation")]
    if not moves:
        return
    table = Table(title=f"reallocations of {name}", title_justify="left")
    for column in (
        "after round",
        "words",
        "training NLL before",
        "predicted",
        "measured",
        "gap",
        "seconds",
    ):
        table.add_column(column, justify="right")
    for number, move in moves:
        table.add_row(
            str(number),
            f"{move['words_moved']:,} ({move['share_moved']:.0%})",
            *(f"{move[key]:.4f}" for key in ("nll_before", "nll_predicted", "nll_measured")),
            f"{move['gap']:.2%}",
            f"{move['seconds']:.1f}",
        )
    Console().print(table)


def print_typical_words(typical: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print the most frequent rows and columns with their most frequent words (LightRNN, Figure 5).

    Args:
        typical: Name of an axis -> its codes as in ``metrics.json``.
    """
    for name, codes in typical.items():
        table = Table(title=f"most frequent {name}", title_justify="left", box=None, show_header=False, expand=True)
        for justify, ratio in (("right", None), ("right", None), ("left", 1)):  # only the words are cut off
            table.add_column(justify=justify, ratio=ratio, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for code in codes:
            table.add_row(str(code["code"]), f"{code['share']:.1%}", Text(" ".join(code["words"])))
        Console().print(table)


def print_results(runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table of finished runs: parameters, epochs (of the best model in parentheses), perplexity, and speed."""
    header = ("parameters", "epochs\n(best)", "validation\nby round", "test", "words/s", "seconds")
    cells = {name: _result_cells(metrics) for name, metrics in runs.items()}
    by_round = header.index("validation\nby round")
    widths = [
        max(
            *map(len, title.split("\n")),
            *(max(map(len, row[column].split() if column == by_round else [row[column]])) for row in cells.values()),
        )
        for column, title in enumerate(header)
    ]
    console = Console()
    # Seven columns and a name fit into a terminal of 80 columns only without spaces beside them.
    padding = 1 if console.width >= 100 else 0
    table = Table(title="result, with perplexities", title_justify="left", padding=(0, padding))
    rest = console.width - sum(widths) - (len(widths) + 1) * (2 * padding + 1) - 1
    table.add_column("run", overflow="fold")
    for width, title in zip(widths, header, strict=True):
        table.add_column(title, justify="right", min_width=width, no_wrap=title != header[by_round])
    for name, row in cells.items():
        table.add_row(Text(_wrapped(name, max(8, min(_MAX_NAME, rest)))), *row)
    console.print(table)
    limits = {name: metrics["validation_limit"] for name, metrics in runs.items() if metrics.get("validation_limit")}
    for name, limit in limits.items():
        whole = perplexity_text(runs[name]["validation"]["perplexity"])
        of_run = "" if len(runs) == 1 else f" of {name}"
        console.print(Text(f"validation by round{of_run}: a part of the text ({limit}); the whole text: {whole}"))


def _result_cells(metrics: Mapping[str, Any]) -> list[str]:
    test = metrics.get("test")
    return [
        f"{metrics['parameters']:,}",
        _epochs(metrics.get("history", [])),
        " ".join(f"{summary['valid_perplexity']:.1f}" for summary in metrics.get("rounds", [])) or "-",
        f"{test['perplexity']:.1f}" if test else "-",
        f"{metrics['words_per_second']:,.0f}",
        f"{metrics['seconds']:.0f}",
    ]


def _wrapped(name: str, width: int) -> str:
    """A name in lines of at most ``width`` characters if possible, broken after spaces, hyphens and underscores."""
    lines = [""]
    for part in re.findall(r"[^-_ ]*[-_ ]|[^-_ ]+", name):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _epochs(history: Sequence[Mapping[str, Any]]) -> str:
    """The epochs of a run, and those after which its best model was saved."""
    finite = [entry for entry in history if entry["valid_perplexity"] is not None]
    if not finite:
        return "-"
    best = min(finite, key=lambda entry: entry["valid_perplexity"])
    return f"{epochs_text(history[-1]['epoch'])} ({epochs_text(best['epoch'])})"


def _kib(size: int) -> str:
    return f"{size / 1024:,.1f}"
