"""The tables of a report, including the papers' rows, for Markdown, CSV and the terminal."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from lightrnn_pl.number_text import epochs_text, perplexity_text
from lightrnn_pl.reporting.anonymous_paths import text_without_folders
from lightrnn_pl.reporting.paper_tables import paper_tables
from lightrnn_pl.reporting.report_rows import METRICS, PAPER_COLUMNS, Row
from lightrnn_pl.reporting.run_groups import Group, Spread, paper_order
from lightrnn_pl.reporting.runs import Run

NONE = "–"
_SMALL = "Rows labeled small differ from the paper in corpus, model size or training time."
_SMALL_PRINTED = "The paper's values are shown for orientation only; these rows do not reproduce them."
_SMALL_ALONE = "They do not reproduce the paper's results."
_BYTES = "MB: the parameters, in float32. MB of tables: the integers that assign words to cells or to shared vectors."
_PARTIAL = "†: each epoch was limited to a part of the training text ({})."
_PARTIAL_VALIDATION = (
    "The figures have validation perplexities of a part of the validation text ({}), and the tables those of all of it."
)
_NGRAMS = "Kneser-Ney n-grams are estimated on the whole training text."
_SHORTER = "*: stopped after fewer epochs than another model of the table on the same corpus."
_OPTIONAL = (
    "MB of tables",
    "rounds",
    "round of best.ckpt",
    "MB",
    "paper: size of input",
    "words/s",
    "paper: parameters",
    "validation perplexity",
)


@dataclass(frozen=True)
class Table:
    """A table of formatted cells.

    Attributes:
        title: The heading.
        header: The names of the columns; the first column contains the labels of the rows.
        rows: The cells.
        notes: Notes to be shown above the table.
        texts: The number of columns, from the left, that contain text instead of numbers.
        optional: Columns to omit on a narrow terminal, in that order.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    texts: int = 1
    optional: Sequence[str] = ()


@dataclass(frozen=True)
class _Column:
    """A measured column, or the column of the paper's values.

    Attributes:
        key: The key of ``METRICS`` or of ``PAPER_COLUMNS``.
        is_printed: Whether it contains the paper's values.
    """

    key: str
    is_printed: bool

    @property
    def title(self) -> str:
        return PAPER_COLUMNS[self.key] if self.is_printed else METRICS[self.key].title

    def cell(self, row: Row) -> str:
        if not self.is_printed:
            return _spread_text(row.metrics.get(self.key), self.key)
        return NONE if row.paper is None else row.paper.printed.get(self.key, NONE)


def result_tables(rows: Sequence[Row]) -> list[Table]:
    """One table for each table of a paper that ``rows`` refer to, in the papers' order; rows without a paper last."""
    ordered = sorted(rows, key=lambda row: paper_order(row.paper))
    names = list(dict.fromkeys(row.paper.table if row.paper is not None else None for row in ordered))
    return [
        _result_table(name, [row for row in ordered if (row.paper.table if row.paper else None) == name])
        for name in names
    ]


def failure_table(runs: Iterable[tuple[str, Run]]) -> Table | None:
    """The runs that are not completed, with their progress; None if all are completed.

    Args:
        runs: The path and the run, for each run.
    """
    header = ("folder", "run", "status", "error", "seed", "epochs", "validation perplexity")
    rows = [
        (
            path,
            run.name,
            run.status,
            text_without_folders(run.error) if run.error else NONE,
            NONE if run.seed is None else str(run.seed),
            *_progress(run.metrics),
        )
        for path, run in runs
        if run.status != "completed"
    ]
    if not rows:
        return None
    notes = [
        "Runs listed as started or running may have been killed. To resume one, rerun its command with the same folder."
    ]
    is_open = any(row[2] in ("started", "running") for row in rows)
    return Table(
        "Not completed", header, rows, notes if is_open else [], texts=4, optional=("run", "validation perplexity")
    )


def command_table(groups: Sequence[Group]) -> Table | None:
    """The command of each group, without the seed and folders; None if no command is known."""
    rows = []
    for group in groups:
        overrides = [override for override in group.runs[0].overrides if not override.startswith("seed=")]
        if overrides:
            rows.append((group.label, shlex.join(["lightrnn-train", *map(text_without_folders, overrides)])))
    return (
        Table("Commands", ("", "command (without the seed and the folders of files)"), rows, texts=2) if rows else None
    )


def typical_table(groups: Sequence[Group], max_rows: int = 12) -> Table | None:
    """LightRNN, Figure 5: the most frequent rows of the first group with a word table, with their typical words."""
    for group in groups:
        run = group.runs[0]
        codes = (run.metrics.get("typical") or {}).get("rows") or ()
        if codes:
            cells = [(str(code["code"]), f"{code['share']:.1%}", " ".join(code["words"])) for code in codes[:max_rows]]
            title = f"Rows of the word table: {group.label}" + (f", seed {run.seed}" if run.seed is not None else "")
            return Table(title, ("row", "share of the text", "typical words"), cells, texts=3)
    return None


def csv_text(rows: Sequence[Row]) -> str:
    """All values of ``rows`` as CSV, in full precision; unknown values are empty."""
    header = ["label", "corpus", "paper_table", "paper_row", "scale", "seeds", "n"]
    for key in METRICS:
        header += [key, f"{key}_deviation"]
    header += [f"paper_{key}" for key in PAPER_COLUMNS]
    file = io.StringIO()
    writer = csv.DictWriter(file, header, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: paper_order(row.paper)):
        content: dict[str, Any] = {
            "label": row.label,
            "corpus": row.corpus,
            "seeds": " ".join(str(seed) for seed in row.seeds),
            "n": max((spread.n for spread in row.metrics.values()), default=0),
        }
        if row.paper is not None:
            content |= {"paper_table": row.paper.table, "paper_row": row.paper.row}
            content |= {f"paper_{key}": printed for key, printed in row.paper.printed.items()}
            content["scale"] = "small" if row.small else "paper"
        for key, spread in row.metrics.items():
            content |= {key: spread.mean, f"{key}_deviation": spread.deviation}
        writer.writerow(content)
    return file.getvalue()


def markdown(table: Table) -> str:
    """The table with its heading in GitHub-flavored Markdown."""
    lines = [f"## {table.title}", "", *(f"{note}\n" for note in table.notes)]
    lines.append(_markdown_row(table.header))
    lines.append(_markdown_row(["---" if number < table.texts else "---:" for number in range(len(table.header))]))
    lines += [_markdown_row(row) for row in table.rows]
    return "\n".join(lines) + "\n"


def for_terminal(table: Table, width: int) -> RichTable:
    """The table for a rich console with ``width`` characters per line; optional columns that do not fit are omitted."""
    columns = range(len(table.header))
    widths = [_width(table.header[column], [row[column] for row in table.rows], column) for column in columns]
    shown = list(columns)
    for name in table.optional:
        if sum(widths[column] + 3 for column in shown) < width:
            break
        shown = [column for column in shown if table.header[column] != name]
    notes = [note for note in table.notes if note != _BYTES or any(table.header[column] == "MB" for column in shown)]
    if omitted := [name for column, name in enumerate(table.header) if column not in shown]:
        notes.append(f"Omitted columns: {', '.join(omitted)}; the report contains all columns.")
    # Text may be wrapped, but numbers may not.
    least = [width if column >= table.texts else min(width, 8) for column, width in enumerate(widths)]
    rich_table = RichTable(
        title=table.title,
        title_justify="left",
        caption="\n".join(notes),
        caption_justify="left",
        padding=(0, 1 if sum(least[column] + 3 for column in shown) < width else 0),
    )
    for column in shown:
        is_number = column >= table.texts
        rich_table.add_column(
            table.header[column].replace(" ", "\n") if is_number else table.header[column],
            justify="right" if is_number else "left",
            overflow="fold",
            min_width=least[column],
            no_wrap=is_number,
        )
    for row in table.rows:
        rich_table.add_row(*(Text(row[column]) for column in shown))
    return rich_table


def _width(name: str, cells: Sequence[str], column: int) -> int:
    """The width of the longest cell or word of the heading; at most 24 for labels, which may be wrapped."""
    longest = max(map(len, [*cells, *name.split()]), default=0)
    return longest if column else min(longest, 24)


def _result_table(name: str | None, rows: Sequence[Row]) -> Table:
    paper_table = paper_tables().get(name) if name is not None else None
    own_rows = [row.paper for row in rows if row.paper is not None]
    all_paper_rows = list(paper_table.rows.values()) if paper_table is not None else []
    languages = {None, *(row.language for row in own_rows)}
    paper_rows = [row for row in all_paper_rows if row.language in languages]
    printed = [key for key in PAPER_COLUMNS if any(key in row.printed for row in (*own_rows, *paper_rows))]
    metrics = [
        key
        for key, metric in METRICS.items()
        if (not metric.only_with_paper or key in printed) and any(key in row.metrics for row in rows)
    ]
    # The paper's value follows ours.
    columns = [
        _Column(key, is_printed)
        for key in dict.fromkeys([*metrics, *printed])
        for is_printed in (False, True)
        if key in (printed if is_printed else metrics)
    ]
    corpora = {row.corpus for row in rows} - {None}
    texts = ["", "corpus"] if len(corpora) > 1 else [""]
    header = [*texts, "seeds", *(column.title for column in columns)]
    shorter = _shorter(rows)
    ordered = [(paper_order(row.paper), _cells(row, texts, columns, row in shorter)) for row in rows]
    # Add the paper's other rows, so that its table is complete in the languages of these runs.
    ordered += [
        (paper_order(row), _cells(Row(row.label, {}, paper=row), texts, columns, False))
        for row in paper_rows
        if row not in own_rows
    ]
    cells = [row_cells for _, row_cells in sorted(ordered, key=lambda pair: pair[0])]
    notes = []
    if any(row.small for row in rows):
        notes.append(f"{_SMALL} {_SMALL_PRINTED if printed else _SMALL_ALONE}")
    if any(spread.deviation is not None for row in rows for spread in row.metrics.values()):
        notes.append("±: sample standard deviation over the seeds.")
    if "table_bytes" in metrics:
        notes.append(_BYTES)
    if shorter:
        notes.append(_SHORTER)
    if limits := dict.fromkeys(row.batch_limit for row in rows if row.batch_limit is not None):
        notes.append(_PARTIAL.format(", ".join(limits)))
    if limits := dict.fromkeys(row.validation_limit for row in rows if row.validation_limit is not None):
        notes.append(_PARTIAL_VALIDATION.format(", ".join(limits)))
    if any("Kneser-Ney" in row.label for row in rows):
        notes.append(_NGRAMS)
    if paper_table is not None and printed:
        notes.append(f"The paper's values: {paper_table.source}.")
    if len(paper_rows) < len(all_paper_rows):
        notes.append("The paper's rows of other languages are omitted.")
    notes += dict.fromkeys(f"{row.paper.label}: {row.note}" for row in rows if row.paper is not None and row.note)
    title = paper_table.title if paper_table is not None else name or ("Other results" if own_rows else "Results")
    if paper_table is not None and len(corpora) == 1:
        title += f" (trained on {corpora.pop()})"
    return Table(title, header, cells, notes, texts=len(texts), optional=[name for name in _OPTIONAL if name in header])


def _shorter(rows: Sequence[Row]) -> list[Row]:
    """The rows whose models were trained for fewer epochs than another model on the same corpus."""
    epochs = [(row, row.metrics["epochs"].mean) for row in rows if "epochs" in row.metrics]
    longest: dict[str | None, float] = {}
    for row, number in epochs:
        longest[row.corpus] = max(number, longest.get(row.corpus, 0.0))
    return [row for row, number in epochs if number < longest[row.corpus]]


def _cells(row: Row, texts: Sequence[str], columns: Sequence[_Column], is_shorter: bool) -> list[str]:
    seeds = NONE
    if row.seeds:
        numbers = ", ".join("?" if seed is None else str(seed) for seed in row.seeds)
        seeds = f"{len(row.seeds)} ({numbers})"
    marks = " †" * (row.batch_limit is not None) + " *" * is_shorter
    return [
        f"{row.label} (small)" if row.small and "scale=small" not in row.label else row.label,
        *([row.corpus or NONE] if "corpus" in texts else []),
        seeds,
        *(column.cell(row) + (marks if column.key == "epochs" else "") for column in columns),
    ]


def _spread_text(spread: Spread | None, key: str) -> str:
    if spread is None:
        return NONE
    text = METRICS[key].format
    return text(spread.mean) if not spread.deviation else f"{text(spread.mean)} ± {text(spread.deviation)}"


def _progress(metrics: Mapping[str, Any]) -> tuple[str, str]:
    history = metrics.get("history") or ()
    if not history:
        return NONE, NONE
    perplexity = history[-1].get("valid_perplexity")
    return epochs_text(history[-1]["epoch"]), NONE if perplexity is None else perplexity_text(perplexity)


def _markdown_row(cells: Iterable[str]) -> str:
    # A bar would end the cell, a line break would end the row, and a tag would be parsed as HTML.
    escaped = (" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(escaped)} |"
