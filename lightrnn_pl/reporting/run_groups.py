"""Runs that differ in nothing but seeds belong together; what else differs is what a group is called by."""

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

_NO_MATTER = (
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
"""What changes neither the model nor how it is trained."""

_KINDS = {"paper.table": "", "paper.scale": "", "data.name": "data.", "data.train": "data."}
"""Keys that say, as a ``_target_`` does, of which kind something is; with what the keys that follow begin with."""

_ABSENT = "(absent)"


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of ``n`` numbers; no deviation where there is one number."""

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Of the values that are known; None where none is."""
        known = [float(value) for value in values if value is not None and math.isfinite(value)]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class Group:
    """Completed runs of one configuration, a seed each.

    Attributes:
        label: Distinguishes it from the other groups of the report.
        runs: By seed.
        paper: The row of a paper that it stands beside.
        small: Whether it is a small-scale run of that row, and so not a reproduction of it.
    """

    label: str
    runs: tuple[Run, ...]
    paper: PaperRow | None
    small: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the first run."""
        return self.runs[0].config

    def spread(self, figure: Callable[[Mapping[str, Any]], float | None]) -> Spread | None:
        """Of a figure of each run's metrics."""
        return Spread.of(figure(run.metrics) for run in self.runs)


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """The completed among ``runs`` by configuration, in the order of the papers' rows, then in the order given.

    A run that was made twice with the same seed counts once, the first; ``repeated_runs`` has the others.
    """
    members: dict[Hashable, dict[str, Run]] = {}
    for run in runs:
        if run.status == "completed":
            members.setdefault(_key(run), {}).setdefault(_exact_key(run), run)
    together = [
        tuple(sorted(found.values(), key=lambda run: (run.seed is None, run.seed or 0))) for found in members.values()
    ]
    labels = labels_of([found[0] for found in together])
    groups = [
        Group(label, found, paper_row(found[0].config), is_small(found[0].config))
        for label, found in zip(labels, together, strict=True)
    ]
    return sorted(groups, key=lambda group: place_in_paper(group.paper))


def repeated_runs(runs: Iterable[Run]) -> list[Run]:
    """Completed runs that are others made again: same configuration, same seeds."""
    seen: set[str] = set()
    repeated = []
    for run in runs:
        if run.status == "completed":
            if (key := _key(run) + _exact_key(run)) in seen:
                repeated.append(run)
            seen.add(key)
    return repeated


def place_in_paper(row: PaperRow | None) -> list[Any]:
    """A key to sort by: a row's table among all, then its place in it; after all others where it has none.

    The points of a figure's curve come in the order of their names, since the paper prints few of them.
    """
    if row is None:
        return [math.inf]
    tables = paper_tables()
    known = list(tables[row.table].rows) if row.table in tables else []
    place = known.index(row.row) if row.row in known and "_figure" not in row.table else len(known)
    return [list(tables).index(row.table) if row.table in tables else len(tables), place, natural_order(row.row)]


def labels_of(runs: Sequence[Run]) -> list[str]:
    """What distinguishes each of ``runs``, all of different configurations, from the others.

    The paper's row or else the run's name comes first; among those of the same, what differs in the configuration is
    added, without what follows from something that is named already.
    """
    first = [_first_name(run) for run in runs]
    labels = []
    for run, name in zip(runs, first, strict=True):
        alike = [other for other, its_name in zip(runs, first, strict=True) if its_name == name]
        labels.append(" ".join([name, *_differences(run, alike)]))
    return labels


def _first_name(run: Run) -> str:
    row = paper_row(run.config)
    return run.name if row is None else row.label


def _differences(run: Run, alike: Sequence[Run]) -> list[str]:
    """``key=value`` for what distinguishes ``run`` from the runs that are ``alike``."""
    facts = [_facts(other) for other in alike]
    mine = facts[[other is run for other in alike].index(True)]
    keys = list(dict.fromkeys(key for each in facts for key in each))
    columns = {key: [each.get(key, _ABSENT) for each in facts] for key in keys}
    columns = {key: column for key, column in columns.items() if len(set(column)) > 1}
    typed = {override.lstrip("+~").partition("=")[0] for other in alike for override in other.overrides}
    # What says the kind of a node comes before what is in it, what was typed before what followed from it, and what is
    # near the top before what is deep.
    order = sorted(columns, key=lambda key: (_node(key) is None, key not in typed, key.count("."), keys.index(key)))
    named: list[str] = []
    for key in order:
        # A key that some do not have and all others have alike is mostly one that older code did not know.
        if len({*columns[key]} - {_ABSENT}) > 1 and not _is_told(key, named, columns):
            named.append(key)
    for key in order:
        if _num_kinds([*named, key], columns) > _num_kinds(named, columns):
            named.append(key)
    return [_option(key, run, alike, columns[key]) or _spelled(key, mine[key]) for key in named if key in mine]


def _num_kinds(keys: Sequence[str], columns: Mapping[str, Sequence[str]]) -> int:
    """Into how many kinds the keys part the runs."""
    return len({*zip(*(columns[key] for key in keys), strict=True)}) if keys else 1


def _is_told(key: str, named: Sequence[str], columns: Mapping[str, Sequence[str]]) -> bool:
    """Whether ``key`` says nothing that the keys already ``named`` have not said."""
    if any(columns[key] == columns[other] for other in named):
        return True
    # In a node whose kind differs, a key is news only where it differs among nodes of one kind.
    kinds = [columns[other] for other in named if (node := _node(other)) is not None and key.startswith(node)]
    kind = list(zip(*kinds, strict=True))
    return bool(kind) and len({*zip(kind, columns[key], strict=True)}) == len({*kind})


def _node(key: str) -> str | None:
    """What the keys that may follow from this one begin with, where it says of which kind something is."""
    return key.removesuffix("_target_") if key.endswith("._target_") else _KINDS.get(key)


def _option(key: str, run: Run, alike: Sequence[Run], column: Sequence[str]) -> str | None:
    """What was chosen for the node whose kind ``key`` says; None where the choice does not tell it."""
    group = key.removesuffix("._target_").replace(".", "/")
    options = [other.choices.get(group) for other in alike]
    if not key.endswith("._target_") or None in options or len({*options}) < len({*column}):
        return None
    return f"{group.rpartition('/')[2]}={run.choices[group]}"


def _spelled(key: str, value: str) -> str:
    parent, _, last = key.rpartition(".")
    if last == "_target_":
        return f"{parent.rpartition('.')[2]}={json.loads(value).rpartition('.')[2]}"
    if key == "data.name":
        return f"data={json.loads(value)}"
    return f"{last}={_plain(value)}"


def _plain(value: str) -> str:
    content = json.loads(value)
    return content if isinstance(content, str) else value.replace(" ", "").replace('"', "")


def _facts(run: Run) -> dict[str, str]:
    """What makes the run what it is, seeds apart: dotted keys, values as JSON."""
    facts: dict[str, str] = {}
    paper = run.config.get("paper")
    if isinstance(paper, dict):
        facts.update({f"paper.{key}": json.dumps(paper.get(key)) for key in ("table", "row", "scale")})
    _flatten("", run.config, facts)
    # Two files may have the same name; the number of tokens distinguishes them.
    tokens = run.metrics.get("tokens") or {}
    facts["data.tokens"] = json.dumps(tokens.get("train"))
    return facts


def _flatten(prefix: str, node: Mapping[str, Any], facts: dict[str, str]) -> None:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in _NO_MATTER or key == "seed":
            continue
        if isinstance(value, dict):
            _flatten(f"{name}.", value, facts)
        else:
            facts[name] = json.dumps(without_folders(value))


def _key(run: Run) -> str:
    return json.dumps(_facts(run), sort_keys=True)


def _exact_key(run: Run) -> str:
    """Its seeds, by where they stand."""
    return json.dumps([run.seed, dict(_seeds("", run.config))], sort_keys=True)


def _seeds(prefix: str, node: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _seeds(f"{prefix}{key}.", value)
        elif key == "seed":
            yield f"{prefix}{key}", value
