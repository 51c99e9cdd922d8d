"""What ``lightrnn-report`` does: finds runs, and writes what they have come to for people and for machines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from lightrnn_pl.files import atomic_write
from lightrnn_pl.reporting.figures import CAPTIONS, write_pictures
from lightrnn_pl.reporting.measurements import find_measurements, lines_of_measurements
from lightrnn_pl.reporting.page_writer import write_page
from lightrnn_pl.reporting.report_rows import lines_of
from lightrnn_pl.reporting.results_folder import keep, places_of
from lightrnn_pl.reporting.run_groups import Group, group_runs, repeated_runs
from lightrnn_pl.reporting.runs import Run, find_runs, natural_order
from lightrnn_pl.reporting.tables import (
    command_table,
    csv_text,
    failure_table,
    for_terminal,
    markdown,
    result_tables,
    typical_table,
)

_MADE_WITH = ("commit", "machine", "torch", "threads")
"""What a run's metrics may say of where it was made."""


def report(config: DictConfig) -> dict[str, Path]:
    """Print the tables of ``config.runs`` and write the report to ``config.output``.

    Returns:
        The files written, by their endings.

    Raises:
        FileNotFoundError: If something of ``config.runs`` is not there.
        ValueError: If there is no run in it, or a file is none of a command's, or ``keep`` holds other runs.
    """
    given = [Path(str(path)) for path in (config.runs if OmegaConf.is_list(config.runs) else [config.runs])]
    if not given:
        raise ValueError("no run folders given; name them: lightrnn-report FOLDER ...")
    runs = find_runs([path for path in given if not path.is_file()])
    measurements = find_measurements(given)
    if not runs and not measurements:
        raise ValueError(
            f"there is no run in {', '.join(map(str, given))}; a run folder holds config.yaml and metrics.json"
        )
    # The order of the folders, not that in which they were given: a report on what was kept of them is the same.
    places, _ = places_of(runs, measurements)
    placed = sorted(
        ((place.as_posix(), run) for place, run in zip(places, runs, strict=True)),
        key=lambda pair: natural_order(pair[0]),
    )
    runs = [run for _, run in placed]
    groups = group_runs(runs)
    lines = [*lines_of(groups), *lines_of_measurements(measurements, groups)]
    results = result_tables(lines)
    failures = [table for table in [failure_table(placed)] if table is not None]
    if config.keep is not None:
        keep(config.keep, runs, measurements)

    console = Console(highlight=False)
    for table in (*results, *failures):
        console.print(for_terminal(table, console.width))
    repeated = {run.path for run in repeated_runs(runs)}
    notes = _notes(runs, groups, [place for place, run in placed if run.path in repeated])
    folder = _output(config.output, given)
    pictures = write_pictures(groups, folder / "pictures")
    appendix = [table for table in (typical_table(groups), command_table(groups)) if table is not None]
    text = [f"# {config.title}\n", *(f"{note}\n" for note in notes), *map(markdown, results)]
    text += [*_shown(pictures, folder), *map(markdown, (*failures, *appendix))]
    files = {ending: folder / f"report.{ending}" for ending in ("md", "csv", "html")}
    for ending, content in (("md", "\n".join(text)), ("csv", csv_text(lines))):
        with atomic_write(files[ending], "w") as file:
            file.write(content)
    write_page(files["html"], groups, pictures, results, failures, config.title, notes)
    for told in (*notes, f"report: {', '.join(map(str, files.values()))}"):
        console.print(told, markup=False, soft_wrap=True)
    return files


def _shown(pictures: Mapping[str, Path], folder: Path) -> list[str]:
    """The pictures as Markdown, seen from ``folder``."""
    told = ["## Pictures\n"] if pictures else []
    for name, path in pictures.items():
        caption = CAPTIONS[name]
        place = path.relative_to(folder).as_posix()
        told.append(f"### {caption.title}\n\n{caption.text}\n\n![{caption.title}]({place})\n")
    return told


def _output(output: Any, given: Sequence[Path]) -> Path:
    if output is not None:
        return Path(str(output))
    return given[0] / "report" if len(given) == 1 and given[0].is_dir() else Path("outputs") / "report"


def _notes(runs: Sequence[Run], groups: Sequence[Group], repeated: Sequence[str]) -> list[str]:
    """What there is, what it was made by, and what was left out."""
    counted = sum(len(group.runs) for group in groups)
    told = [f"{_plural(len(runs), 'run')}: {counted} completed, in {_plural(len(groups), 'group')} of seeds"]
    if unfinished := sum(run.status != "completed" for run in runs):
        told[0] += f"; {unfinished} not completed"
    told[0] += "."
    if repeated:
        told.append(f"Skipped duplicates (same configuration and seeds): {', '.join(repeated)}.")
    if texts := list(dict.fromkeys(text for group in groups if (text := _text(group.runs[0])) is not None)):
        told.append(f"Trained on {'; '.join(texts)}.")
    known = [run.metrics for group in groups for run in group.runs]
    made_with = [f"{key} {', '.join(values)}" for key in _MADE_WITH if (values := _distinct(known, key))]
    if made_with:
        told.append(f"Made with {'; '.join(made_with)}.")
    return told


def _text(run: Run) -> str | None:
    """What a run learned from, and how many words it knows."""
    tokens, words = (run.metrics.get("tokens") or {}).get("train"), run.metrics.get("vocabulary")
    if run.corpus is None or tokens is None or words is None:
        return None
    return f"{run.corpus}: {tokens:,} tokens, {words:,} words of vocabulary"


def _distinct(metrics: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """The runs' values of a key; a git commit is abbreviated."""
    values = (str(known[key]) for known in metrics if known.get(key) is not None)
    return list(dict.fromkeys(re.sub(r"^([0-9a-f]{10})[0-9a-f]{30}", r"\1", value) for value in values))


def _plural(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
