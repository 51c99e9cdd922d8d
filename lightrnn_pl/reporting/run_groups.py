"""Groups of runs that differ only in their seeds, labeled by what distinguishes their configurations."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightrnn_pl.reporting.anonymous_paths import without_folders
from lightrnn_pl.reporting.paper_tables import PaperRow, is_small, paper_row, paper_tables
from lightrnn_pl.reporting.runs import Run, natural_order

_IGNORED_KEYS = (
    "name",
    "bootstrap",
    "paper",
    "paths",
    "logger",
    "callbacks",
    "resume",
    "resume_point",
    "sweep",
    "data.root",
    "data.cache",
    "data.cache_dir",
    "trainer.profiler",
    "trainer.log_every_n_steps",
    "trainer.enable_checkpointing",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.detect_anomaly",
)
"""Keys that affect neither the model nor its training."""

_KIND_KEYS = {"paper.table": "", "paper.scale": "", "data.name": "data.", "data.train": "data."}
"""Keys that determine the kind of a node, as ``_target_`` does -> the prefix of the node's keys."""

_ABSENT = "(absent)"


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of ``n`` numbers; the deviation of a single number is None."""

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the finite values; None if there are none."""
        known = [float(value) for value in values if value is not None and math.isfinite(value)]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class Group:
    """Completed runs of one configuration with different seeds.

    Attributes:
        label: Distinguishes the group from the others of the report.
        runs: The runs, in order of their seeds.
        paper: The corresponding row of a paper, if any.
        small: Whether the runs are small-scale versions of that row, and so do not reproduce it.
    """

    label: str
    runs: tuple[Run, ...]
    paper: PaperRow | None
    small: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the first run."""
        return self.runs[0].config

    def spread(self, extract: Callable[[Mapping[str, Any]], float | None]) -> Spread | None:
        """The spread of a value that ``extract`` gets from each run's metrics."""
        return Spread.of(extract(run.metrics) for run in self.runs)


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Group the completed runs by configuration, in the order of the papers' rows, then in the given order.

    Of several runs with the same configuration and seed, only the first is used; see :func:`repeated_runs`.
    """
    members: dict[Hashable, dict[str, Run]] = {}
    for run in runs:
        if run.status == "completed":
            members.setdefault(_key(run), {}).setdefault(_exact_key(run), run)
    grouped = [
        tuple(sorted(by_seed.values(), key=lambda run: (run.seed is None, run.seed or 0)))
        for by_seed in members.values()
    ]
    labels = distinguishing_labels([runs_of_group[0] for runs_of_group in grouped])
    groups = [
        Group(label, runs_of_group, paper_row(runs_of_group[0].config), is_small(runs_of_group[0].config))
        for label, runs_of_group in zip(labels, grouped, strict=True)
    ]
    return sorted(groups, key=lambda group: paper_order(group.paper))


def repeated_runs(runs: Iterable[Run]) -> list[Run]:
    """Completed runs with the configuration and seeds of an earlier one."""
    seen: set[str] = set()
    repeated = []
    for run in runs:
        if run.status == "completed":
            if (key := _key(run) + _exact_key(run)) in seen:
                repeated.append(run)
            seen.add(key)
    return repeated


def paper_order(row: PaperRow | None) -> list[Any]:
    """A sort key: the position of the table, then that of the row in its table; None is sorted last.

    Points of a figure are sorted by name, because the papers state only a few of them as numbers.
    """
    if row is None:
        return [math.inf]
    tables = paper_tables()
    names = list(tables[row.table].rows) if row.table in tables else []
    position = names.index(row.row) if row.row in names and "_figure" not in row.table else len(names)
    return [list(tables).index(row.table) if row.table in tables else len(tables), position, natural_order(row.row)]


def distinguishing_labels(runs: Sequence[Run]) -> list[str]:
    """A label for each of ``runs``, which must have different configurations.

    A label starts with the paper's row, or else the name of the run.  If several runs share it, the differences of
    their configurations are appended, except those that follow from others in the label.
    """
    names = [_base_name(run) for run in runs]
    labels = []
    for run, name in zip(runs, names, strict=True):
        namesakes = [other for other, other_name in zip(runs, names, strict=True) if other_name == name]
        labels.append(" ".join([name, *_differences(run, namesakes)]))
    return labels


def _base_name(run: Run) -> str:
    row = paper_row(run.config)
    return run.name if row is None else row.label


def _differences(run: Run, namesakes: Sequence[Run]) -> list[str]:
    """``key=value`` for each key that distinguishes ``run`` from the others among ``namesakes``."""
    settings = [_settings(other) for other in namesakes]
    own = settings[[other is run for other in namesakes].index(True)]
    keys = list(dict.fromkeys(key for each in settings for key in each))
    columns = {key: [each.get(key, _ABSENT) for each in settings] for key in keys}
    columns = {key: column for key, column in columns.items() if len(set(column)) > 1}
    overridden = {override.lstrip("+~").partition("=")[0] for other in namesakes for override in other.overrides}
    # Prefer keys that determine the kind of a node, then overrides to values derived from them, then shallow keys.
    order = sorted(
        columns, key=lambda key: (_node(key) is None, key not in overridden, key.count("."), keys.index(key))
    )
    selected: list[str] = []
    for key in order:
        # A key that is absent from some runs and equal in all others was probably introduced by newer code.
        if len({*columns[key]} - {_ABSENT}) > 1 and not _is_redundant(key, selected, columns):
            selected.append(key)
    for key in order:
        if _num_distinct([*selected, key], columns) > _num_distinct(selected, columns):
            selected.append(key)
    return [_option(key, run, namesakes, columns[key]) or _as_text(key, own[key]) for key in selected if key in own]


def _num_distinct(keys: Sequence[str], columns: Mapping[str, Sequence[str]]) -> int:
    """The number of distinct combinations of values of ``keys``."""
    return len({*zip(*(columns[key] for key in keys), strict=True)}) if keys else 1


def _is_redundant(key: str, selected: Sequence[str], columns: Mapping[str, Sequence[str]]) -> bool:
    """Whether the value of ``key`` follows from those of the ``selected`` keys."""
    if any(columns[key] == columns[other] for other in selected):
        return True
    # Within a node whose kind is in the label, a key is informative only if it differs among nodes of the same kind.
    kinds = [columns[other] for other in selected if (node := _node(other)) is not None and key.startswith(node)]
    kind = list(zip(*kinds, strict=True))
    return bool(kind) and len({*zip(kind, columns[key], strict=True)}) == len({*kind})


def _node(key: str) -> str | None:
    """The prefix of the node whose kind ``key`` determines; None if it determines none."""
    return key.removesuffix("_target_") if key.endswith("._target_") else _KIND_KEYS.get(key)


def _option(key: str, run: Run, namesakes: Sequence[Run], column: Sequence[str]) -> str | None:
    """``group=option`` for a ``_target_``; None if options are unknown or do not distinguish the classes."""
    group = key.removesuffix("._target_").replace(".", "/")
    options = [other.choices.get(group) for other in namesakes]
    if not key.endswith("._target_") or None in options or len({*options}) < len({*column}):
        return None
    return f"{group.rpartition('/')[2]}={run.choices[group]}"


def _as_text(key: str, value: str) -> str:
    parent, _, last = key.rpartition(".")
    if last == "_target_":
        return f"{parent.rpartition('.')[2]}={json.loads(value).rpartition('.')[2]}"
    if key == "data.name":
        return f"data={json.loads(value)}"
    return f"{last}={_plain(value)}"


def _plain(value: str) -> str:
    content = json.loads(value)
    return content if isinstance(content, str) else value.replace(" ", "").replace('"', "")


def _settings(run: Run) -> dict[str, str]:
    """The settings that define the run, except seeds: dotted key -> value as JSON."""
    settings: dict[str, str] = {}
    paper = run.config.get("paper")
    if isinstance(paper, dict):
        settings.update({f"paper.{key}": json.dumps(paper.get(key)) for key in ("table", "row", "scale")})
    _flatten("", run.config, settings)
    # The number of tokens distinguishes files of the same name.
    tokens = run.metrics.get("tokens") or {}
    settings["data.tokens"] = json.dumps(tokens.get("train"))
    return settings


def _flatten(prefix: str, node: Mapping[str, Any], settings: dict[str, str]) -> None:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in _IGNORED_KEYS or key == "seed":
            continue
        if isinstance(value, dict):
            _flatten(f"{name}.", value, settings)
        else:
            settings[name] = json.dumps(without_folders(value))


def _key(run: Run) -> str:
    return json.dumps(_settings(run), sort_keys=True)


def _exact_key(run: Run) -> str:
    """All seeds of the run, by their dotted keys."""
    return json.dumps([run.seed, dict(_seeds("", run.config))], sort_keys=True)


def _seeds(prefix: str, node: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _seeds(f"{prefix}{key}.", value)
        elif key == "seed":
            yield f"{prefix}{key}", value
