"""What the benchmarks share: a case in a process of its own, its time, its peak memory, its place in a table."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def zipf_vocabulary(num_words: int) -> Any:
    """Words w0, w1, ... whose counts follow Zipf's law, about ten tokens a word."""
    from lightrnn_pl.vocabulary import Vocabulary

    counts = np.maximum(1, 9 * num_words / (np.arange(num_words) + 2.7)).astype(np.int64)
    return Vocabulary((f"w{number}" for number in range(num_words)), counts, end="w0")


def zipf_words(num_words: int, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Word ids drawn from the counts of ``zipf_vocabulary``."""
    import torch

    weights = 1 / (np.arange(num_words) + 2.7)
    drawn = np.random.default_rng(seed).choice(num_words, size=shape, p=weights / weights.sum())
    return torch.from_numpy(drawn)


def composed(*overrides: str) -> Any:
    """The configuration of ``lightrnn-train`` with overrides."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        return compose("train", ["name=benchmark", "paths.run_dir=.", *overrides])


def check_names(parser: argparse.ArgumentParser, flag: str, names: str, group: str) -> None:
    """Refuse what the configuration does not have before anything is timed; ``name:loss`` names two options."""
    conf = Path(__file__).parents[1] / "conf"
    for name in names.split(","):
        option, _, loss = name.partition(":")
        for folder, chosen in ((group, option), ("model/loss", loss or "exact")):
            if not (conf / folder / f"{chosen}.yaml").is_file():
                choices = sorted(path.stem for path in (conf / folder).glob("[a-z]*.yaml"))
                parser.error(f"{flag} has {name!r}, but conf/{folder} has no {chosen!r}; choose from {choices}")


def median_seconds(step: Callable[[], Any], at_least: float = 2.0, most: int = 30) -> float:
    """Median time of ``step`` after one call that is not counted; three calls or more, until ``at_least`` seconds."""
    step()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < at_least and len(times) < most):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def peak_mib() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def in_process(case: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any] | None:
    """What ``case`` returns in a fresh process; None if the process died, which is reported on stderr."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(theirs, case, *arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return None
    finally:
        process.join()
        if process.exitcode:
            print(f"{arguments[:2]}: ended with exit code {process.exitcode}", file=sys.stderr)


def _call(connection: Any, case: Callable[..., dict[str, Any]], *arguments: Any) -> None:
    connection.send(case(*arguments))


def add_speedup(rows: list[dict[str, Any]], name: str) -> None:
    """``speedup`` over ``full`` of the same run: same vocabulary, phase and threads; None where there is none."""
    same = ("vocabulary", "phase", "threads")
    full = {tuple(row[key] for key in same): row["seconds"] for row in rows if row[name] == "full"}
    for row in rows:
        base = full.get(tuple(row[key] for key in same))
        row["speedup"] = None if base is None else base / row["seconds"]


def markdown(rows: list[dict[str, Any]], name: str) -> str:
    """A table for a note."""
    lines = [
        f"| {name} | vocabulary | phase | threads | seconds | words/s | speedup over full | peak MiB | weights MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        speedup = "" if row["speedup"] is None else f"{row['speedup']:.2f}"
        lines.append(
            f"| {row[name]} | {row['vocabulary']:,} | {row['phase']} | {row['threads']} | {row['seconds']:.4f} | "
            f"{row['words_per_second']:,.0f} | {speedup} | {row['peak_mib']:,.0f} | {row['weights_mib']:,.1f} |"
        )
    return "\n".join(lines)


def finish(rows: list[dict[str, Any]], name: str, path: Path | None) -> None:
    """Print the table; write the rows as JSON and a picture beside it."""
    if not rows:
        sys.exit("nothing was measured")
    add_speedup(rows, name)
    print(markdown(rows, name))
    if path is None:
        return
    from lightrnn_pl.files import write_json

    write_json(path, rows)
    _draw(rows, name, path.with_suffix(".png"))


def _draw(rows: list[dict[str, Any]], name: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = list(dict.fromkeys((row["phase"], row["threads"]) for row in rows))
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(1 + 5 * len(kinds), 4.5), constrained_layout=True, squeeze=False
    )
    for axis, (phase, threads) in zip(axes[0], kinds, strict=True):
        chosen = [row for row in rows if (row["phase"], row["threads"]) == (phase, threads)]
        sizes = sorted({row["vocabulary"] for row in chosen})
        for what in dict.fromkeys(row[name] for row in chosen):
            mine = sorted((row for row in chosen if row[name] == what), key=lambda row: row["vocabulary"])
            if len(sizes) > 1:
                axis.loglog(
                    [row["vocabulary"] for row in mine], [row["words_per_second"] for row in mine], "o-", label=what
                )
            else:
                bars = axis.barh([what], [mine[0]["words_per_second"]])
                axis.bar_label(bars, [f" {mine[0]['words_per_second']:,.0f}"])
        axis.set_title(f"{phase}, {threads} thread{'s' if threads > 1 else ''}")
        if len(sizes) > 1:
            axis.set(xlabel="vocabulary", ylabel="words/s")
            axis.legend(fontsize=8)
        else:
            axis.set(xlabel=f"words/s, vocabulary {sizes[0]:,}", xscale="log")
            axis.invert_yaxis()
            axis.margins(x=0.25)
    figure.savefig(path, dpi=120)
