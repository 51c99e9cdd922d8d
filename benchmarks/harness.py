"""Common functions of the benchmarks: cases in separate processes, time, peak memory, tables and plots."""

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
    """A vocabulary of words w0, w1, ... whose counts follow Zipf's law, with about ten tokens per word."""
    from lightrnn_pl.vocabulary import Vocabulary

    counts = np.maximum(1, 9 * num_words / (np.arange(num_words) + 2.7)).astype(np.int64)
    return Vocabulary((f"w{number}" for number in range(num_words)), counts, end="w0")


def zipf_words(num_words: int, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Random word ids, distributed according to ``zipf_vocabulary``."""
    import torch

    weights = 1 / (np.arange(num_words) + 2.7)
    words = np.random.default_rng(seed).choice(num_words, size=shape, p=weights / weights.sum())
    return torch.from_numpy(words)


def compose_config(*overrides: str) -> Any:
    """The configuration of ``lightrnn-train`` with overrides."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        return compose("train", ["name=benchmark", "paths.run_dir=.", *overrides])


def check_names(parser: argparse.ArgumentParser, flag: str, names: str, group: str) -> None:
    """Exit with an error if a name is not an option of the configuration group; ``name:loss`` names two options."""
    conf = Path(__file__).parents[1] / "conf"
    for name in names.split(","):
        option, _, loss = name.partition(":")
        for folder, choice in ((group, option), ("model/loss", loss or "exact")):
            if not (conf / folder / f"{choice}.yaml").is_file():
                choices = sorted(path.stem for path in (conf / folder).glob("[a-z]*.yaml"))
                parser.error(f"{flag} has {name!r}, but conf/{folder} has no {choice!r}; choose from {choices}")


def median_seconds(step: Callable[[], Any], min_seconds: float = 2.0, max_calls: int = 30) -> float:
    """Median time of ``step`` after a warm-up call, over at least three calls and ``min_seconds`` seconds."""
    step()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < min_seconds and len(times) < max_calls):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def synchronize(device: Any) -> None:
    """Wait until a GPU has finished its work; a CPU has when a call returns."""
    if device.type != "cpu":
        import torch

        torch.accelerator.synchronize(device)


def peak_mib(device: Any = None) -> float:
    """Peak memory so far, in MiB: of this process, or on a GPU of its tensors (MPS: of the driver)."""
    if device is None or device.type == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    import torch

    peak = torch.mps.driver_allocated_memory() if device.type == "mps" else torch.cuda.max_memory_allocated(device)
    return peak / 2**20


def resident_mib() -> float:
    """Memory of this process in MiB; Linux only.  The peak of a new process is at least that of its parent."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


START_METHOD = "spawn"
"""How :func:`run_in_process` starts processes: they do not inherit the memory of this one."""


def run_in_process(case: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any] | None:
    """The result of ``case`` in a new process; None if the process failed, which is reported on standard error."""
    context = multiprocessing.get_context(START_METHOD)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, case, *arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()
        if process.exitcode:
            print(f"{arguments[:2]}: ended with exit code {process.exitcode}", file=sys.stderr)


def _call(connection: Any, case: Callable[..., dict[str, Any]], *arguments: Any) -> None:
    connection.send(case(*arguments))


def add_speedup(rows: list[dict[str, Any]], name: str) -> None:
    """Add ``speedup`` over ``full`` with the same vocabulary, phase and threads; None if that was not measured."""
    keys = ("vocabulary", "phase", "threads")
    full = {tuple(row[key] for key in keys): row["seconds"] for row in rows if row[name] == "full"}
    for row in rows:
        base = full.get(tuple(row[key] for key in keys))
        row["speedup"] = None if base is None else base / row["seconds"]


def markdown(rows: list[dict[str, Any]], name: str) -> str:
    """The results as a Markdown table."""
    lines = [
        f"| {name} | vocabulary | phase | processor | seconds | words/s | speedup over full | peak MiB | weights MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        speedup = "" if row["speedup"] is None else f"{row['speedup']:.2f}"
        lines.append(
            f"| {row[name]} | {row['vocabulary']:,} | {row['phase']} | {_processor(row)} | {row['seconds']:.4f} | "
            f"{row['words_per_second']:,.0f} | {speedup} | {row['peak_mib']:,.0f} | {row['weights_mib']:,.1f} |"
        )
    return "\n".join(lines)


def _processor(row: dict[str, Any]) -> str:
    """The device of a row if it is a GPU; otherwise its number of threads."""
    if row.get("device", "cpu") != "cpu":
        return row["device"]
    return f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"


def finish(rows: list[dict[str, Any]], name: str, path: Path | None) -> None:
    """Print the results as a table; write them to a JSON file and a plot next to it."""
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

    kinds = list(dict.fromkeys((row["phase"], _processor(row)) for row in rows))
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(1 + 5 * len(kinds), 4.5), constrained_layout=True, squeeze=False
    )
    for axis, (phase, processor) in zip(axes[0], kinds, strict=True):
        shown = [row for row in rows if (row["phase"], _processor(row)) == (phase, processor)]
        sizes = sorted({row["vocabulary"] for row in shown})
        for case in dict.fromkeys(row[name] for row in shown):
            curve = sorted((row for row in shown if row[name] == case), key=lambda row: row["vocabulary"])
            if len(sizes) > 1:
                axis.loglog(
                    [row["vocabulary"] for row in curve], [row["words_per_second"] for row in curve], "o-", label=case
                )
            else:
                bars = axis.barh([case], [curve[0]["words_per_second"]])
                axis.bar_label(bars, [f" {curve[0]['words_per_second']:,.0f}"])
        axis.set_title(f"{phase}, {processor}")
        if len(sizes) > 1:
            axis.set(xlabel="vocabulary", ylabel="words/s")
            axis.legend(fontsize=8)
        else:
            axis.set(xlabel=f"words/s, vocabulary {sizes[0]:,}", xscale="log")
            axis.invert_yaxis()
            axis.margins(x=0.25)
    figure.savefig(path, dpi=120)
