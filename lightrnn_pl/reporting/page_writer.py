"""The report as one HTML file that needs nothing else: tables, pictures, and the word tables of the runs as maps.

The page is in ``page/``: markup with ``{{places}}``, a style sheet, and JavaScript modules, which are joined into one
script for the page and one for its worker.  Data enters as escaped text, as JSON, or as base64, never as markup.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lightrnn_pl.files import atomic_write
from lightrnn_pl.reporting.figures import CAPTIONS
from lightrnn_pl.reporting.run_groups import Group
from lightrnn_pl.reporting.tables import NONE, Table
from lightrnn_pl.reporting.word_map import WordMap
from lightrnn_pl.web import shared_assets

log = logging.getLogger(__name__)

MOST_BYTES = 64_000_000
"""Word tables are left out of the page where they would make it larger than this."""

_PAGE_SCRIPTS = (
    *("dom.js", "number_format.js", "colors.js", "worker_client.js", "table_canvas.js", "side_panel.js"),
    *("word_map.js", "report_page.js"),
)
_WORKER_SCRIPTS = ("word_tables.js", "word_search.js", "table_pixels.js", "table_worker.js")
_IMPORT = re.compile(r'^import .*? from "\./[\w.]+";\n', re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?=const|class|function|async)", re.MULTILINE)
_PAPER = "paper: "
_SMALL = " (small)"


def write_page(
    path: str | Path,
    groups: Sequence[Group],
    pictures: Mapping[str, Path],
    tables: Sequence[Table] = (),
    failures: Sequence[Table] = (),
    title: str = "Report",
    notes: Sequence[str] = (),
) -> Path:
    """Write the page, atomically.

    Args:
        path: The HTML file.
        groups: Whose word tables are shown: those of the best run of each.
        pictures: As ``write_pictures`` returns them; their SVG is put into the page.
        tables: Of results.
        failures: Tables of what went wrong, at the end.
        title: At the top.
        notes: Lines below it.
    """
    return write_page_of_maps(path, word_maps(groups), pictures, tables, failures, title, notes)


def write_page_of_maps(
    path: str | Path,
    maps: Iterable[WordMap],
    pictures: Mapping[str, Path] | None = None,
    tables: Sequence[Table] = (),
    failures: Sequence[Table] = (),
    title: str = "Report",
    notes: Sequence[str] = (),
) -> Path:
    """``write_page`` for word tables that are at hand already."""
    pictures = pictures or {}
    told, parts = _packed(maps)
    result_sections = [_section(f"results-{number}", table) for number, table in enumerate(tables)]
    figures = [_figure(name, file) for name, file in pictures.items()]
    places = [("results-0", "Results")] * bool(tables) + [("pictures", "Pictures")] * bool(figures)
    places += [("map", "Word table")] * bool(told) + [("failures-0", "Not completed")] * bool(failures)
    filled = {
        "title": html.escape(title),
        "notes": "".join(f"<p>{html.escape(note)}</p>" for note in notes),
        "navigation": "".join(f'<a href="#{place}">{name}</a>' for place, name in places),
        "icon": "data:image/svg+xml;base64," + base64.b64encode(_text("icon.svg").encode()).decode("ascii"),
        "style": _text("theme.css") + _text("style.css"),
        "tables": "\n".join(result_sections),
        "pictures": _pictures(figures),
        "map": _text("map.html") if told else "",
        "failures": "\n".join(_section(f"failures-{number}", table) for number, table in enumerate(failures)),
        "footer": "Made by lightrnn-report; this file needs no network.",
        # In a script nothing is escaped, so that no text may look like the end of it.
        "maps": json.dumps(told, ensure_ascii=False).replace("<", "\\u003c"),
        "worker": _joined(_WORKER_SCRIPTS) if told else "",
        "page": _joined(_PAGE_SCRIPTS) if told else _joined(("dom.js", "report_page.js")),
        "parts": "\n".join(
            f'<script type="application/octet-stream" id="{name}">{content}</script>' for name, content in parts
        ),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], _text("index.html"))
    with atomic_write(path, "w") as file:
        file.write(page)
    return Path(path)


def word_maps(groups: Sequence[Group]) -> Iterable[WordMap]:
    """The word tables of each group's best run; a run whose files are damaged is logged and skipped."""
    for group in groups:
        best = min(group.runs, key=lambda run: (run.metrics.get("validation") or {}).get("perplexity") or float("inf"))
        seed = f", seed {best.seed}" if len(group.runs) > 1 else ""
        try:
            found = WordMap.of_run(best, f"{group.label}{seed}")
        except ValueError as error:
            log.warning("no word table of %s: %s", group.label, error)
            continue
        if found is not None:
            yield found


def _packed(maps: Iterable[WordMap]) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The maps' description for the page, and the ids and contents of their parts."""
    told: list[dict[str, Any]] = []
    parts: list[tuple[str, str]] = []
    size = 0
    for found in maps:
        about, packed = found.packed()
        size += sum(map(len, packed.values()))
        if told and size > MOST_BYTES:
            log.warning("no word table of %s: the page would have more than %d MB", found.name, MOST_BYTES // 1_000_000)
            break
        parts += [(f"map-{len(told)}-{name}", content) for name, content in packed.items()]
        told.append(about)
    return told, parts


def _text(name: str) -> str:
    file = shared_assets().get(name) or resources.files("lightrnn_pl.reporting") / "page" / name
    return file.read_text(encoding="utf-8")


def _joined(names: Sequence[str]) -> str:
    """Modules as one script: what they import stands before them, so that imports and exports are dropped."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", _text(name))) for name in names)


def _section(place: str, table: Table) -> str:
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    head = "".join(
        f'<th scope="col" class="{_kind(table, column)}">{html.escape(_heading(name))}</th>'
        for column, name in enumerate(table.header)
    )
    body = "".join(_row(table, row) for row in table.rows)
    return (
        f'<section id="{place}"><h2>{html.escape(table.title)}</h2>{notes}<div class="scroll">'
        f'<table class="results sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )


def _heading(name: str) -> str:
    return f"paper’s {name.removeprefix(_PAPER)}" if name.startswith(_PAPER) else name


def _kind(table: Table, column: int) -> str:
    kinds = ["number"] if column >= table.texts else []
    kinds += ["paper"] if table.header[column].startswith(_PAPER) else []
    kinds += ["error"] if table.header[column] == "error" else []
    return " ".join(kinds)


def _row(table: Table, row: Sequence[str]) -> str:
    measured = [cell for cell, name in zip(row[1:], table.header[1:], strict=True) if not name.startswith(_PAPER)]
    # A row of the paper that no run stands for.
    kind = ' class="elsewhere"' if measured and all(cell == NONE for cell in measured) else ""
    label = html.escape(row[0].removesuffix(_SMALL))
    badge = '<span class="badge">small</span>' if row[0].endswith(_SMALL) else ""
    cells = "".join(
        f'<td class="{_kind(table, column)}">{html.escape(cell)}</td>' for column, cell in enumerate(row) if column
    )
    return f'<tr{kind}><th scope="row">{label}{badge}</th>{cells}</tr>'


def _pictures(figures: Sequence[str]) -> str:
    if not figures:
        return ""
    return f'<section id="pictures"><h2>Pictures</h2><div class="pictures">{"".join(figures)}</div></section>'


def _figure(name: str, path: Path) -> str:
    caption = CAPTIONS[name]
    wide = ' class="wide"' if name == "reallocation" else ""
    drawn = path.with_suffix(".svg").read_text(encoding="utf-8")
    drawn = drawn.replace("<svg ", f'<svg role="img" aria-label="{html.escape(caption.title)}" ', 1)
    return (
        f"<figure{wide}><h3>{html.escape(caption.title)}</h3><figcaption>{html.escape(caption.text)}</figcaption>"
        f"{drawn}</figure>"
    )
