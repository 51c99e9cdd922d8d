"""What other commands measured and wrote as JSON: mixtures, reranked translations, output layers.

``lightrnn-evaluate interpolate=... json=FILE``, ``lightrnn-rescore json=FILE`` and ``benchmarks/output_layers.py
--json FILE``.  A model is known again by the hash of its file, which its run's ``metrics.json`` has, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightrnn_pl.reporting.paper_tables import PaperRow, paper_tables
from lightrnn_pl.reporting.report_rows import Line
from lightrnn_pl.reporting.run_groups import Group, Spread
from lightrnn_pl.reporting.runs import Run, walk
from lightrnn_pl.run_folder import RunFolder

_LARGEST = 20 * 2**20
"""Bytes; a file that is larger is none of a command's."""

_NAMES_OF_KNESER_NEY = ("KN", "Interpolated Kneser-Ney 5-gram")
"""Its rows in the papers' tables."""

_LAYERS = {"full": "Uncompressed", "hashed": "HashNet", "slim": "SE"}
"""Slim Embedding, Table 7: its rows by our output layers."""

_PAPERS_LAYER = {"vocabulary": 793_471, "hidden": 2048, "batch": 20}


@dataclass(frozen=True)
class Measurement:
    """A JSON file of a command.

    Attributes:
        path: The file.
        kind: ``mixture``, ``reranking`` or ``layers``.
        content: What it holds.
    """

    path: Path
    kind: str
    content: Any


def find_measurements(places: Iterable[str | Path]) -> list[Measurement]:
    """The files among and below ``places`` that are a command's, each once, in the order of their names.

    Raises:
        ValueError: If a file that is given by its name is none of a command's.
    """
    found: dict[Path, Measurement] = {}
    for place in map(Path, places):
        for path in [place] if place.is_file() else _json_files(place):
            measurement = _read(path)
            if measurement is not None:
                found.setdefault(path.resolve(), measurement)
            elif place.is_file():
                raise ValueError(
                    f"{place} is not the JSON of lightrnn-evaluate interpolate=..., lightrnn-rescore or "
                    "benchmarks/output_layers.py"
                )
    return list(found.values())


def lines_of_measurements(measurements: Sequence[Measurement], groups: Sequence[Group]) -> list[Line]:
    """Lines for all that ``measurements`` say, models named as in ``groups``, seeds taken together."""
    single: list[_Single] = []
    for measurement in measurements:
        single += _READERS[measurement.kind](measurement.content, groups)
    together: dict[tuple[Any, ...], list[_Single]] = {}
    for line in single:
        together.setdefault((line.label, line.paper, line.small, line.text), []).append(line)
    return [
        Line(label, _spreads(lines), _seeds(lines), paper, small, lines[0].corpus)
        for (label, paper, small, _), lines in together.items()
    ]


@dataclass(frozen=True)
class _Single:
    """One measurement of what may have been measured for several seeds, on one and the same ``text``."""

    label: str
    figures: Mapping[str, float | None]
    run: Run | None = None
    paper: PaperRow | None = None
    small: bool = False
    text: Any = None
    corpus: str | None = None


def _spreads(lines: Sequence[_Single]) -> dict[str, Spread]:
    """What has no seed gives the same figures each time, and counts once."""
    found = {}
    for key in dict.fromkeys(key for line in lines for key in line.figures):
        values = [line.figures.get(key) for line in lines]
        spread = Spread.of(values if lines[0].run is not None else dict.fromkeys(values))
        if spread is not None:
            found[key] = spread
    return found


def _seeds(lines: Sequence[_Single]) -> tuple[int | None, ...]:
    return tuple(sorted((line.run.seed for line in lines if line.run is not None), key=lambda seed: seed or 0))


def _mixture(content: Any, groups: Sequence[Group]) -> Iterator[_Single]:
    """LightRNN, Table 4: each partner alone, and all of them with the neural model."""
    protocol, mixed = content["protocol"], content["interpolation"]
    label, run, group = _model(content, groups)
    corpus, text = protocol["corpus"], (protocol["corpus"], _num_test_tokens(protocol))
    paper = None if group is None else group.paper
    if run is not None and _num_test_tokens(run.metrics) != _num_test_tokens(protocol):
        label, paper = f"{label} on {corpus}", None  # another text than the run's own
    small = group is not None and group.small
    partners = mixed["members"][1:]
    for member in partners:
        row = _row(paper, _NAMES_OF_KNESER_NEY) if _is_kneser_ney(member) else None
        yield _Single(
            f"{member['name']}, {corpus}",
            _perplexities(member["splits"]),
            None,
            row,
            small and row is not None,
            text,
            corpus,
        )
    row = None
    if paper is not None and len(partners) == 1 and _is_kneser_ney(partners[0]):
        row = _row(paper, [f"KN + {paper.row}"])
    names = " + ".join([label, *(member["name"] for member in partners)])
    yield _Single(names, _perplexities(mixed["combined"]), run, row, small and row is not None, text, corpus)


def _reranking(content: Any, groups: Sequence[Group]) -> Iterator[_Single]:
    """Slim Embedding, Table 6: the list's own features, and each language model beside them."""
    models = {name: _model(one, groups) for name, one in content["models"].items()}
    known = [group for _, _, group in models.values() if group is not None and group.paper is not None]
    table = next((group.paper for group in known if group.paper and group.paper.table == "slim_table6"), None)
    small = any(group.small for group in known)
    text = (content["settings"].get("test"), content.get("test", {}).get("hypotheses"))
    for system in content["systems"]:
        label, run, row = system["name"], None, None
        name = system["name"].removeprefix("+ ")
        if name in models:
            label, run, group = models[name]
            label, row = f"+ {label}", None if group is None or table is None else group.paper
        elif name.startswith("features of the list"):
            row = _row(table, ["Moses"])
        figures = {"bleu": system.get("test_bleu"), "perplexity": system.get("perplexity")}
        yield _Single(label, figures, run, row, small and row is not None, text)


def _layers(content: Any, groups: Sequence[Group]) -> Iterator[_Single]:
    """Slim Embedding, Table 7: the time of a minibatch on the CPU."""
    for row in content:
        if row["phase"] != "inference":
            continue
        name = _LAYERS.get(row["output"], row["output"])
        paper = paper_tables()["slim_table7"].rows.get(name, PaperRow("slim_table7", name, name))
        small = any(row[key] != value for key, value in _PAPERS_LAYER.items())
        label = ", ".join(
            [
                name,
                *([f"{row['vocabulary']:,} words, {row['hidden']:,} hidden, batch {row['batch']}"] if small else []),
                *([f"{row['threads']} threads"] if row["threads"] > 1 else []),
            ]
        )
        yield _Single(label, {"cpu_seconds": row["seconds"]}, None, paper, small)


_READERS = {"mixture": _mixture, "reranking": _reranking, "layers": _layers}


def _read(path: Path) -> Measurement | None:
    """The file, if it is a command's."""
    try:
        if path.stat().st_size > _LARGEST:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if isinstance(content, dict):
        if isinstance(content.get("interpolation"), dict) and content["interpolation"].get("combined"):
            return Measurement(path, "mixture", content)
        if isinstance(content.get("systems"), list) and isinstance(content.get("models"), dict):
            return Measurement(path, "reranking", content)
    is_list = isinstance(content, list) and bool(content)
    if is_list and all(isinstance(row, dict) and {"output", "phase", "seconds"} <= row.keys() for row in content):
        return Measurement(path, "layers", content)
    return None


def _json_files(folder: Path) -> Iterator[Path]:
    for root, files, _ in walk(folder):
        yield from (root / name for name in files if name.endswith(".json") and root / name != RunFolder(root).metrics)


def _model(told: Mapping[str, Any], groups: Sequence[Group]) -> tuple[str, Run | None, Group | None]:
    """What the model of that hash is called, its run and its group; by the hash where it is of no run."""
    for group in groups:
        for run in group.runs:
            if (run.metrics.get("checkpoint") or {}).get("sha256") == told["sha256"]:
                return group.label, run, group
    return f"model {told['sha256'][:8]}", None, None


def _num_test_tokens(known: Mapping[str, Any]) -> Any:
    return (known.get("tokens") or {}).get("test")


def _row(paper: PaperRow | None, names: Iterable[str]) -> PaperRow | None:
    """The first of ``names`` that stands in the table of ``paper``."""
    rows = paper_tables()[paper.table].rows if paper is not None and paper.table in paper_tables() else {}
    return next((rows[name] for name in names if name in rows), None)


def _is_kneser_ney(member: Mapping[str, Any]) -> bool:
    return member["name"].startswith("Kneser-Ney")


def _perplexities(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    named = {"valid": "valid_perplexity", "test": "perplexity"}
    return {named[split]: figures.get("perplexity") for split, figures in splits.items() if split in named}
