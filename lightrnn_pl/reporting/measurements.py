"""Results that other commands wrote as JSON: mixtures, reranked translations, and output layers.

They are written by ``lightrnn-evaluate interpolate=... json=FILE``, ``lightrnn-rescore json=FILE`` and
``benchmarks/output_layers.py --json FILE``.  The run of a model is identified by the hash of its bundle, which is also
in ``metrics.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lightrnn_pl.checks import one_line
from lightrnn_pl.reporting.paper_tables import PaperRow, paper_tables
from lightrnn_pl.reporting.report_rows import Row
from lightrnn_pl.reporting.run_groups import Group, Spread
from lightrnn_pl.reporting.runs import Run, walk
from lightrnn_pl.run_folder import RunFolder

_MAX_BYTES = 20 * 2**20
"""Larger JSON files are ignored."""

_KNESER_NEY_ROWS = ("KN", "Interpolated Kneser-Ney 5-gram", "KN {language}")
"""Names of the Kneser-Ney rows in the papers' tables; other rows of a table with languages end with the language."""

_LAYER_ROWS = {"full": "Uncompressed", "hashed": "HashNet", "slim": "SE"}
"""Output layer -> row of Slim Embedding, Table 7."""

_PAPER_LAYER_SIZES = {"vocabulary": 793_471, "hidden": 2048, "batch": 20}


@dataclass(frozen=True)
class Measurement:
    """A JSON file that a command wrote.

    Attributes:
        path: The file.
        kind: ``mixture``, ``reranking`` or ``layers``.
        content: The parsed content.
    """

    path: Path
    kind: str
    content: Any


def find_measurements(paths: Iterable[str | Path]) -> list[Measurement]:
    """The commands' JSON files among and below ``paths``, each once, in natural order of their names.

    Raises:
        ValueError: If one of ``paths`` is a file that no command wrote.
    """
    measurements: dict[Path, Measurement] = {}
    for path in map(Path, paths):
        for file in [path] if path.is_file() else _json_files(path):
            measurement = _read(file)
            if measurement is not None:
                measurements.setdefault(file.resolve(), measurement)
            elif path.is_file():
                raise ValueError(
                    f"{path} is not JSON output of lightrnn-evaluate interpolate=..., lightrnn-rescore or "
                    "benchmarks/output_layers.py"
                )
    return list(measurements.values())


def measurement_rows(measurements: Sequence[Measurement], groups: Sequence[Group]) -> list[Row]:
    """The rows of all measurements; models are named as in ``groups``, and seeds are combined into one row.

    Raises:
        ValueError: If a measurement does not have the content that its command writes.
    """
    singles: list[_Single] = []
    for measurement in measurements:
        try:
            singles += [_checked(single) for single in _READERS[measurement.kind](measurement.content, groups)]
        except Exception as error:  # missing keys and other types cause many kinds of exceptions
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise ValueError(f"{measurement.path} is damaged ({reason}); write it again, or omit it") from error
    by_row: dict[tuple[Any, ...], list[_Single]] = {}
    for single in singles:
        by_row.setdefault((single.label, single.paper, single.small, single.text), []).append(single)
    return [
        Row(label, _spreads(members), _seeds(members), paper, small, members[0].corpus)
        for (label, paper, small, _), members in by_row.items()
    ]


@dataclass(frozen=True)
class _Single:
    """A measurement of one seed; those with the same label and ``text`` form a row."""

    label: str
    metrics: Mapping[str, float | None]
    run: Run | None = None
    paper: PaperRow | None = None
    small: bool = False
    text: Any = None
    corpus: str | None = None


_METRICS = TypeAdapter(dict[str, float | None])


def _checked(single: _Single) -> _Single:
    """The measurement itself, if its metrics are numbers and it can be compared with others."""
    _METRICS.validate_python(dict(single.metrics), strict=True)
    hash((single.label, single.text))
    return single


def _spreads(members: Sequence[_Single]) -> dict[str, Spread]:
    """Mean and deviation of each metric; equal values without a run, such as those of n-gram models, count once."""
    spreads = {}
    for key in dict.fromkeys(key for single in members for key in single.metrics):
        values = [single.metrics.get(key) for single in members]
        spread = Spread.of(values if members[0].run is not None else dict.fromkeys(values))
        if spread is not None:
            spreads[key] = spread
    return spreads


def _seeds(members: Sequence[_Single]) -> tuple[int | None, ...]:
    return tuple(sorted((single.run.seed for single in members if single.run is not None), key=lambda seed: seed or 0))


def _mixture(content: Any, groups: Sequence[Group]) -> Iterator[_Single]:
    """LightRNN, Table 4: each other model alone, and the mixture of all with the neural model."""
    protocol, mixed = content["protocol"], content["interpolation"]
    label, run, group = _model(content, groups)
    corpus, text = protocol["corpus"], (protocol["corpus"], _num_test_tokens(protocol))
    paper = None if group is None else group.paper
    if run is not None and _num_test_tokens(run.metrics) != _num_test_tokens(protocol):
        label, paper = f"{label} on {corpus}", None  # not the test text of the run
    small = group is not None and group.small
    others = mixed["members"][1:]
    for member in others:
        row = _kneser_ney_row(paper) if _is_kneser_ney(member) else None
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
    if paper is not None and len(others) == 1 and _is_kneser_ney(others[0]):
        row = _paper_row(paper, [f"KN + {paper.row}"])
    names = " + ".join([label, *(member["name"] for member in others)])
    yield _Single(names, _perplexities(mixed["combined"]), run, row, small, text, corpus)


def _reranking(content: Any, groups: Sequence[Group]) -> Iterator[_Single]:
    """Slim Embedding, Table 6: the features of the list, without and with each language model."""
    models = {name: _model(model, groups) for name, model in content["models"].items()}
    in_papers = [group for _, _, group in models.values() if group is not None and group.paper is not None]
    table = next((group.paper for group in in_papers if group.paper and group.paper.table == "slim_table6"), None)
    small = any(group.small for group in in_papers)
    text = (content["settings"].get("test"), content.get("test", {}).get("hypotheses"))
    for system in content["systems"]:
        label, run, row = system["name"], None, None
        name = system["name"].removeprefix("+ ")
        if name in models:
            label, run, group = models[name]
            label, row = f"+ {label}", None if group is None or table is None else group.paper
        elif name.startswith("features of the list"):
            row = _paper_row(table, ["Moses"])
        metrics = {"bleu": system.get("test_bleu"), "perplexity": system.get("perplexity")}
        yield _Single(label, metrics, run, row, small and row is not None, text)


def _layers(content: Any, groups: Sequence[Group]) -> Iterator[_Single]:
    """Slim Embedding, Table 7: the time of a minibatch on the CPU or the GPU; a row can have both."""
    for layer in content:
        if layer["phase"] != "inference":
            continue
        name = _LAYER_ROWS.get(layer["output"], layer["output"])
        paper = paper_tables()["slim_table7"].rows.get(name, PaperRow("slim_table7", name, name))
        small = any(layer[key] != value for key, value in _PAPER_LAYER_SIZES.items())
        sizes = f"{layer['vocabulary']:,} words, {layer['hidden']:,} hidden, batch {layer['batch']}"
        on_gpu = layer.get("device", "cpu") != "cpu"  # earlier files do not name the device
        threads = [f"{layer['threads']} threads"] if layer["threads"] > 1 and not on_gpu else []
        metrics = {"gpu_milliseconds": 1000 * layer["seconds"]} if on_gpu else {"cpu_seconds": layer["seconds"]}
        yield _Single(", ".join([name, *([sizes] if small else []), *threads]), metrics, None, paper, small)


_READERS = {"mixture": _mixture, "reranking": _reranking, "layers": _layers}


def _read(path: Path) -> Measurement | None:
    """The measurement in a file; None if no command wrote it."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
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


def _model(content: Mapping[str, Any], groups: Sequence[Group]) -> tuple[str, Run | None, Group | None]:
    """The label, run and group of the model with the given hash; the label is the hash if there is no such run."""
    for group in groups:
        for run in group.runs:
            if (run.metrics.get("checkpoint") or {}).get("sha256") == content["sha256"]:
                return group.label, run, group
    return f"model {content['sha256'][:8]}", None, None


def _num_test_tokens(content: Mapping[str, Any]) -> Any:
    return (content.get("tokens") or {}).get("test")


def _paper_row(paper: PaperRow | None, names: Iterable[str]) -> PaperRow | None:
    """The first row called one of ``names`` in the table of ``paper``."""
    rows = paper_tables()[paper.table].rows if paper is not None and paper.table in paper_tables() else {}
    return next((rows[name] for name in names if name in rows), None)


def _kneser_ney_row(paper: PaperRow | None) -> PaperRow | None:
    """The Kneser-Ney row in the table of ``paper`` and, if rows differ by language, of its language."""
    language = "" if paper is None else paper.row.rpartition(" ")[2]
    return _paper_row(paper, [name.format(language=language) for name in _KNESER_NEY_ROWS])


def _is_kneser_ney(member: Mapping[str, Any]) -> bool:
    return member["name"].startswith("Kneser-Ney")


def _perplexities(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    keys = {"valid": "valid_perplexity", "test": "perplexity"}
    return {keys[split]: result.get("perplexity") for split, result in splits.items() if split in keys}
