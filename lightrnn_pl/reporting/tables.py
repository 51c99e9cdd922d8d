"""A report's tables: beside the papers' rows, for Markdown, CSV and the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from lightrnn_pl.reporting.anonymous_paths import text_without_folders
from lightrnn_pl.reporting.paper_tables import PaperRow, paper_tables
from lightrnn_pl.reporting.report_rows import FIGURES, PRINTED, Line
from lightrnn_pl.reporting.run_groups import Group, Spread, place_in_paper
from lightrnn_pl.reporting.runs import Run

NONE = "–"
_SMALL = (
    "Rows marked small were made on another corpus, at other sizes or in less time than the paper's; its figures "
    "stand beside them for orientation, and nothing here reproduces them."
)
_SPARE = ("MB of tables", "rounds", "MB", "paper: size of input", "words/s", "paper: parameters", "valid perplexity")


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: Its heading.
        header: The columns' names; the first is what a line is called.
        rows: The cells.
        notes: What to know before reading it.
        texts: How many columns, from the left, hold text and not numbers.
        spare: Columns that a narrow terminal does without, the first of them first.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    texts: int = 1
    spare: Sequence[str] = ()


def result_tables(lines: Sequence[Line]) -> list[Table]:
    """A table for each of the papers' that ``lines`` stand beside, in the papers' order; last what stands alone."""
    ordered = sorted(lines, key=lambda line: place_in_paper(line.paper))
    names = list(dict.fromkeys(line.paper.table if line.paper is not None else None for line in ordered))
    return [
        _result_table(name, [line for line in ordered if (line.paper.table if line.paper else None) == name])
        for name in names
    ]


def failure_table(runs: Iterable[tuple[str, Run]]) -> Table | None:
    """The runs that did not end well, or not yet, with how far they came; None where all are completed.

    Args:
        runs: Each with where it is.
    """
    header = ("folder", "run", "status", "error", "seed", "epochs", "valid perplexity")
    rows = [
        (
            place,
            run.name,
            run.status,
            text_without_folders(run.error) if run.error else NONE,
            NONE if run.seed is None else str(run.seed),
            *_progress(run.metrics),
        )
        for place, run in runs
        if run.status != "completed"
    ]
    if not rows:
        return None
    notes = [
        "A run that says started or running may have been killed; its command, given again with its folder, goes on "
        "where it was."
    ]
    is_open = any(row[2] in ("started", "running") for row in rows)
    return Table("Not completed", header, rows, notes if is_open else [], texts=4, spare=("run", "valid perplexity"))


def command_table(groups: Sequence[Group]) -> Table | None:
    """How each group was made, seeds apart; None where nobody knows."""
    rows = []
    for group in groups:
        overrides = [one for one in group.runs[0].overrides if not one.startswith("seed=")]
        if overrides:
            rows.append((group.label, f"lightrnn-train {text_without_folders(' '.join(overrides))}"))
    return Table("Commands", ("", "command, but for the seed"), rows, texts=2) if rows else None


def typical_table(groups: Sequence[Group], rows: int = 12) -> Table | None:
    """LightRNN, Figure 5: the heaviest rows of the first group that has a word table, with their typical words."""
    for group in groups:
        run = group.runs[0]
        lines = (run.metrics.get("typical") or {}).get("rows") or ()
        if lines:
            cells = [(str(line["code"]), f"{line['share']:.1%}", " ".join(line["words"])) for line in lines[:rows]]
            title = f"Rows of the word table: {group.label}" + (f", seed {run.seed}" if run.seed is not None else "")
            return Table(title, ("row", "of the text", "its typical words"), cells, texts=3)
    return None


def csv_text(lines: Sequence[Line]) -> str:
    """All that ``lines`` know, in full precision: a row a line, an empty cell for what is not known."""
    header = ["label", "corpus", "paper_table", "paper_row", "scale", "seeds", "n"]
    for key in FIGURES:
        header += [key, f"{key}_deviation"]
    header += [f"paper_{key}" for key in PRINTED]
    file = io.StringIO()
    writer = csv.DictWriter(file, header, lineterminator="\n")
    writer.writeheader()
    for line in sorted(lines, key=lambda line: place_in_paper(line.paper)):
        content: dict[str, Any] = {
            "label": line.label,
            "corpus": line.corpus,
            "seeds": " ".join(str(seed) for seed in line.seeds),
            "n": max((spread.n for spread in line.figures.values()), default=0),
        }
        if line.paper is not None:
            content |= {"paper_table": line.paper.table, "paper_row": line.paper.row}
            content |= {f"paper_{key}": printed for key, printed in line.paper.printed.items()}
            content["scale"] = "small" if line.small else "paper"
        for key, spread in line.figures.items():
            content |= {key: spread.mean, f"{key}_deviation": spread.deviation}
        writer.writerow(content)
    return file.getvalue()


def markdown(table: Table) -> str:
    """The table under a heading, as GitHub reads it."""
    lines = [f"## {table.title}", "", *(f"{note}\n" for note in table.notes)]
    lines.append(_markdown_row(table.header))
    lines.append(_markdown_row(["---" if number < table.texts else "---:" for number in range(len(table.header))]))
    lines += [_markdown_row(row) for row in table.rows]
    return "\n".join(lines) + "\n"


def for_terminal(table: Table, width: int) -> RichTable:
    """The table for a rich console of so many characters a line; with fewer columns where they do not fit."""
    needed = [_width(name, [row[place] for row in table.rows], place) for place, name in enumerate(table.header)]
    shown = list(range(len(table.header)))
    for name in table.spare:
        if sum(needed[place] + 3 for place in shown) < width:
            break
        shown = [place for place in shown if table.header[place] != name]
    notes = list(table.notes)
    if left_out := [name for place, name in enumerate(table.header) if place not in shown]:
        notes.append(f"Too narrow here for: {', '.join(left_out)}; the report has all columns.")
    made = RichTable(title=table.title, title_justify="left", caption="\n".join(notes), caption_justify="left")
    for place in shown:
        is_number = place >= table.texts
        # Numbers stay whole; it is the label that gives way.
        made.add_column(
            table.header[place].replace(" ", "\n") if is_number else table.header[place],
            justify="right" if is_number else "left",
            overflow="fold",
            min_width=needed[place] if is_number else min(needed[place], 8),
        )
    for row in table.rows:
        made.add_row(*(Text(row[place]) for place in shown))
    return made


def _width(name: str, cells: Sequence[str], place: int) -> int:
    """What a column takes: its longest cell, or the longest word of its name; of a label what is legible."""
    longest = max(map(len, [*cells, *name.split()]), default=0)
    return longest if place else min(longest, 24)


def _result_table(name: str | None, lines: Sequence[Line]) -> Table:
    known = paper_tables().get(name) if name is not None else None
    papers = [line.paper for line in lines if line.paper is not None]
    all_rows = [*papers, *(known.rows.values() if known is not None else ())]
    printed = [key for key in PRINTED if any(key in row.printed for row in all_rows)]
    figures = [
        key
        for key, figure in FIGURES.items()
        if (figure.everywhere or key in printed) and any(key in line.figures for line in lines)
    ]
    texts = ["", "corpus"] if len({line.corpus for line in lines} - {None}) > 1 else [""]
    header = [*texts, "seeds", *(FIGURES[key].title for key in figures), *(PRINTED[key] for key in printed)]
    placed = [(place_in_paper(line.paper), _cells(line, texts, figures, printed)) for line in lines]
    # The paper's other rows, so that its table is complete.
    missing = [row for row in (known.rows.values() if known is not None else ()) if row not in papers]
    placed += [
        (place_in_paper(row), [row.label, *[NONE] * (len(texts) + len(figures)), *_printed(row, printed)])
        for row in missing
    ]
    rows = [cells for _, cells in sorted(placed, key=lambda pair: pair[0])]
    notes = []
    if any(line.small for line in lines):
        notes.append(_SMALL)
    if any(spread.deviation is not None for line in lines for spread in line.figures.values()):
        notes.append("±: sample standard deviation over the seeds.")
    if known is not None and printed:
        notes.append(f"The paper's figures: {known.source}.")
    title = known.title if known is not None else name or ("Other results" if papers else "Results")
    return Table(title, header, rows, notes, texts=len(texts), spare=[name for name in _SPARE if name in header])


def _cells(line: Line, texts: Sequence[str], figures: Sequence[str], printed: Sequence[str]) -> list[str]:
    seeds = NONE
    if line.seeds:
        told = ", ".join("?" if seed is None else str(seed) for seed in line.seeds)
        seeds = f"{len(line.seeds)} ({told})"
    return [
        f"{line.label} (small)" if line.small and "scale=small" not in line.label else line.label,
        *([line.corpus or NONE] if "corpus" in texts else []),
        seeds,
        *(_spread_text(line.figures.get(key), key) for key in figures),
        *_printed(line.paper, printed),
    ]


def _spread_text(spread: Spread | None, key: str) -> str:
    if spread is None:
        return NONE
    text = FIGURES[key].text
    return text(spread.mean) if not spread.deviation else f"{text(spread.mean)} ± {text(spread.deviation)}"


def _printed(row: PaperRow | None, keys: Sequence[str]) -> list[str]:
    return [NONE if row is None else row.printed.get(key, NONE) for key in keys]


def _progress(metrics: Mapping[str, Any]) -> tuple[str, str]:
    history = metrics.get("history") or ()
    if not history:
        return NONE, NONE
    perplexity = history[-1].get("valid_perplexity")
    return f"{history[-1]['epoch']:.4g}", NONE if perplexity is None else f"{perplexity:,.2f}"


def _markdown_row(cells: Iterable[str]) -> str:
    # A bar would end the cell, a line break the row, and a tag would be taken for HTML.
    escaped = (" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(escaped)} |"
