"""``lightrnn-report``: find runs, and report their results as tables, figures and a web page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from lightrnn_pl.files import atomic_write
from lightrnn_pl.reporting.figures import CAPTIONS, write_figures
from lightrnn_pl.reporting.measurements import find_measurements, measurement_rows
from lightrnn_pl.reporting.page_writer import write_page
from lightrnn_pl.reporting.report_rows import group_rows
from lightrnn_pl.reporting.results_folder import relative_paths, save_results
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

_ENVIRONMENT = ("commit", "machine", "torch", "threads")
"""Keys of a run's metrics that describe the environment."""

_MAX_NAMES = 3
"""Number of names of runs that fit into a title."""


def report(config: DictConfig) -> dict[str, Path]:
    """Print the tables of ``config.runs``, and write the report to ``config.output``.

    Returns:
        The files written, by suffix.

    Raises:
        FileNotFoundError: If one of ``config.runs`` does not exist.
        ValueError: If there are no runs, a file was not written by a command, or ``keep`` contains other runs.
    """
    inputs = [Path(str(path)) for path in (config.runs if OmegaConf.is_list(config.runs) else [config.runs])]
    if not inputs:
        raise ValueError("no run folders given; pass them as arguments: lightrnn-report FOLDER ...")
    runs = find_runs([path for path in inputs if not path.is_file()])
    measurements = find_measurements(inputs)
    if not runs and not measurements:
        raise ValueError(
            f"no runs found in {', '.join(map(str, inputs))}; a run folder contains config.yaml and metrics.json"
        )
    # Sort by relative paths, so that the report does not depend on the order of arguments or the parent folder.
    paths, _ = relative_paths(runs, measurements)
    by_path = sorted(
        ((path.as_posix(), run) for path, run in zip(paths, runs, strict=True)),
        key=lambda pair: natural_order(pair[0]),
    )
    runs = [run for _, run in by_path]
    groups = group_runs(runs)
    rows = [*group_rows(groups), *measurement_rows(measurements, groups)]
    results = result_tables(rows)
    failures = [table for table in [failure_table(by_path)] if table is not None]
    if config.keep is not None:
        save_results(config.keep, runs, measurements)

    console = Console(highlight=False)
    for table in (*results, *failures):
        console.print(for_terminal(table, console.width))
    repeated = {run.path for run in repeated_runs(runs)}
    notes = _notes(runs, groups, [path for path, run in by_path if run.path in repeated])
    folder = _output(config.output, inputs)
    figures = write_figures(groups, folder / "figures")
    commands = command_table(groups)
    appendix = [table for table in (typical_table(groups), commands) if table is not None]
    title = str(config.title) if config.title is not None else _title(runs)
    text = [f"# {title}\n", *(f"{note}\n" for note in notes), *map(markdown, results)]
    text += [*_markdown_figures(figures, folder), *map(markdown, (*failures, *appendix))]
    files = {suffix: folder / f"report.{suffix}" for suffix in ("md", "csv", "html")}
    for suffix, content in (("md", "\n".join(text)), ("csv", csv_text(rows))):
        with atomic_write(files[suffix], "w") as file:
            file.write(content)
    write_page(files["html"], groups, figures, results, failures, title, notes, commands)
    for line in notes:
        console.print(line, markup=False)
    for file_path in files.values():
        console.print(
            f"report: {file_path}", markup=False, soft_wrap=True
        )  # paths can be copied if they are not wrapped
    return files


def _markdown_figures(figures: Mapping[str, Path], folder: Path) -> list[str]:
    """The figures as Markdown, with paths relative to ``folder``."""
    sections = ["## Figures\n"] if figures else []
    for name, path in figures.items():
        caption = CAPTIONS[name]
        link = path.relative_to(folder).as_posix()
        sections.append(f"### {caption.title}\n\n{caption.text}\n\n![{caption.title}]({link})\n")
    return sections


def _output(output: Any, inputs: Sequence[Path]) -> Path:
    if output is not None:
        return Path(str(output))
    return inputs[0] / "report" if len(inputs) == 1 and inputs[0].is_dir() else Path("outputs") / "report"


def _title(runs: Sequence[Run]) -> str:
    """A title that names the runs."""
    names = list(dict.fromkeys(run.name for run in runs))
    shown = ", ".join(names[:_MAX_NAMES])
    if not runs:
        return "Report"
    if len(runs) == 1 and runs[0].seed is not None:
        shown += f", seed {runs[0].seed}"
    if len(names) > _MAX_NAMES:
        shown += f" and {len(names) - _MAX_NAMES} more"
    return f"Report: {shown}"


def _notes(runs: Sequence[Run], groups: Sequence[Group], repeated: Sequence[str]) -> list[str]:
    """Notes on the number of runs, skipped runs, corpora, and the environment."""
    num_completed = sum(len(group.runs) for group in groups)
    summary = f"{_plural(len(runs), 'run')}: {num_completed} completed, in {_plural(len(groups), 'group')} of seeds"
    if num_unfinished := sum(run.status != "completed" for run in runs):
        summary += f"; {num_unfinished} not completed"
    notes = [f"{summary}."]
    if repeated:
        notes.append(f"Skipped duplicates (same configuration and seeds): {', '.join(repeated)}.")
    if corpora := list(dict.fromkeys(corpus for group in groups if (corpus := _corpus(group.runs[0])) is not None)):
        notes.append(f"Training corpus: {'; '.join(corpora)}.")
    metrics = [run.metrics for group in groups for run in group.runs]
    environment = [f"{key} {', '.join(values)}" for key in _ENVIRONMENT if (values := _distinct(metrics, key))]
    if environment:
        notes.append(f"Environment: {'; '.join(environment)}.")
    return notes


def _corpus(run: Run) -> str | None:
    """The training corpus of a run, with its number of tokens and its vocabulary size."""
    tokens, words = run.training_tokens, run.metrics.get("vocabulary")
    if run.corpus is None or tokens is None or words is None:
        return None
    return f"{run.corpus} ({tokens:,} tokens, vocabulary of {words:,} words)"


def _distinct(metrics: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """The distinct values of a key; git commits are abbreviated."""
    values = (str(run_metrics[key]) for run_metrics in metrics if run_metrics.get(key) is not None)
    return list(dict.fromkeys(re.sub(r"^([0-9a-f]{10})[0-9a-f]{30}", r"\1", value) for value in values))


def _plural(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
