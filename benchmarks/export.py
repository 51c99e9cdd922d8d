"""Exports: size, agreement with PyTorch, perplexity before and after, memory, and speed of a step.

    python benchmarks/export.py runs/light runs/slim --text valid.txt --json outputs/export.json

Each bundle is exported in each format by ``lightrnn-export``, which also verifies the export.  A step computes the
log-probability of the next word in each of ``--batch`` texts and reads that word (``Decoder.step``, or the same with
the ONNX graphs).  The words are those of the text.  The speed is the best of three runs on ``--threads`` threads, in
which PyTorch and onnxruntime (32 and 8 bits) alternate.

The milliseconds are those of the three most likely next words after a word at the start of a line: reading the start
and the word, and the search.  The memory is that by which the model and its searches enlarge a process that has
imported its runtime (PyTorch, onnxruntime or ExecuTorch).  Both are measured in a new process for each format.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness import resident_mib, run_in_process

FORMATS = ("safetensors", "int8", "onnx", "onnx_int8")
CONF = Path(__file__).resolve().parents[1] / "conf" / "export.yaml"


def words_per_second(step: Callable[[Any], None], rows: Any) -> float:
    """Words per second of ``step``, called with one row of words at a time."""
    started = time.perf_counter()
    for row in rows:
        step(row)
    return rows.size / (time.perf_counter() - started)


def speeds(
    bundle: Any, folders: dict[str, Path], text: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Words per second of PyTorch and of the ONNX graphs in each folder, for each batch size."""
    import torch

    from lightrnn_pl.export.onnx_client import OnnxModel

    vocabulary, decoder = bundle.vocabulary, bundle.decoder
    clients = {name: OnnxModel(folder, arguments.threads) for name, folder in folders.items()}
    max_words = arguments.steps * max(arguments.batch)
    with text.open(encoding="utf-8") as file:
        ids: list[int] = []
        for line in file:
            ids += vocabulary.encode(line.split()).tolist()
            if len(ids) >= max_words:
                break
    results = {}
    for batch in arguments.batch:
        steps = min(arguments.steps, len(ids) // batch)
        rows = torch.tensor(ids[: steps * batch]).view(-1, batch).numpy()
        states: dict[str, Any] = {}

        def pytorch_step(row: Any, states: dict[str, Any] = states) -> None:
            states["pytorch"] = decoder.step(states["pytorch"], torch.from_numpy(row))[1]

        def graph_step(name: str, row: Any, states: dict[str, Any] = states) -> None:
            states[name] = clients[name].read(row, clients[name].spell(states[name], row)[1])

        steps = {"pytorch": pytorch_step, **{name: partial(graph_step, name) for name in clients}}
        best = dict.fromkeys(steps, 0.0)
        for _ in range(3):
            states.update(pytorch=decoder.start(batch))
            states.update({name: client.start(batch) for name, client in clients.items()})
            for name, step in steps.items():
                best[name] = max(best[name], words_per_second(step, rows))
        results[f"batch {batch}"] = best
    return results


def next_words_milliseconds(next_words: Callable[[str], Any], contexts: list[str]) -> dict[str, float]:
    """Median and 95th percentile of the time of ``next_words``."""
    import numpy as np

    next_words(contexts[0])
    times = []
    for context in contexts:
        started = time.perf_counter()
        next_words(context)
        times.append(1000 * (time.perf_counter() - started))
    return dict(zip(("median", "p95"), np.percentile(times, [50, 95]).tolist(), strict=True))


def measure(path: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All results of one bundle."""
    from omegaconf import OmegaConf

    from lightrnn_pl import load
    from lightrnn_pl.commands.export import export

    bundle = load(path)
    result: dict[str, Any] = {
        "bundle": path,
        "words": len(bundle.vocabulary),
        "sides": list(bundle.model.allocation.sides),
        "parameters": bundle.model.num_parameters,
        "threads": arguments.threads,
    }
    defaults = OmegaConf.to_container(OmegaConf.load(CONF), resolve=False)
    assert isinstance(defaults, dict)
    defaults = {key: value for key, value in defaults.items() if key not in ("defaults", "hydra")}
    with tempfile.TemporaryDirectory() as folder:
        for format in arguments.formats:
            settings = {"checkpoint": path, "output": f"{folder}/{format}", "format": format}
            settings |= {"valid": str(arguments.text), "words": arguments.words}
            started = time.perf_counter()
            print(f"exporting {path} as {format}", file=sys.stderr)
            with contextlib.redirect_stdout(io.StringIO()):
                report = export(OmegaConf.create({**defaults, **settings}))
            keys = ("bytes", "total_bytes", "checkpoint_bytes", "agreement", "perplexity", "written_out_bytes")
            result[format] = {key: report[key] for key in keys if key in report}
            result[format]["seconds"] = time.perf_counter() - started
        graphs = {f"onnxruntime, {name}": Path(folder) / name for name in arguments.formats if name.startswith("onnx")}
        words = arguments.text.read_text(encoding="utf-8").split()[: arguments.steps]
        for format in arguments.formats:
            figures = run_in_process(on_device, Path(folder) / format, arguments.threads, words)
            if figures is None:
                sys.exit(f"the process that measures format={format} failed")
            result[format] |= figures
        result["words_per_second"] = speeds(bundle, graphs, arguments.text, arguments)
    return result


def on_device(folder: Path, threads: int, words: list[str]) -> dict[str, Any]:
    """Memory and milliseconds of next words of an export, in a process that has loaded nothing else."""
    model: Any
    if folder.name.startswith("onnx"):
        import onnxruntime  # noqa: F401  # its own memory does not count

        from lightrnn_pl.export.onnx_client import OnnxModel

        before = resident_mib()
        model = OnnxModel(folder, threads)
    elif folder.name == "executorch":
        from executorch.extension.pybindings import portable_lib

        from lightrnn_pl.export.executorch_writer import ExecuTorchModel

        portable_lib._unsafe_reset_threadpool(threads)
        before = resident_mib()
        model = ExecuTorchModel(folder)
    else:
        import torch

        from lightrnn_pl import load

        torch.set_num_threads(threads)
        before = resident_mib()
        model = load(folder)
    milliseconds = next_words_milliseconds(lambda text: model.next_words(text, 3), words)
    return {"next_words_ms": milliseconds, "mib": resident_mib() - before}


def print_report(report: list[dict[str, Any]], formats: list[str]) -> None:
    """Print a table for each bundle."""
    from rich.console import Console
    from rich.table import Table

    for result in report:
        speed = "; ".join(
            f"{batch}: " + ", ".join(f"{name} {words:,.0f}" for name, words in speeds.items())
            for batch, speeds in result["words_per_second"].items()
        )
        table = Table(
            title=f"{result['bundle']}: {result['words']:,} words, {result['parameters']:,} parameters, "
            f"{result['threads']} threads",
            caption="MiB: memory of the model; ms: three next words, median and 95th percentile\n"
            f"words/s of steps: {speed}",
            title_justify="left",
            caption_justify="left",
        )
        for column in ("format", "bytes", "perplexity", "change", "MiB", "ms", "ms (95 %)"):
            table.add_column(column, justify="left" if column == "format" else "right")
        for format in formats:
            row, perplexity = result[format], result[format].get("perplexity")
            table.add_row(
                format,
                f"{row['total_bytes']:,}",
                f"{perplexity['after']:.2f}" if perplexity else "-",
                f"{perplexity['change']:+.3%}" if perplexity else "-",
                f"{row['mib']:.1f}",
                *(f"{row['next_words_ms'][key]:.2f}" for key in ("median", "p95")),
            )
        Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", help="best.ckpt, run folders, exported folders, or demo")
    parser.add_argument("--formats", nargs="+", choices=[*FORMATS, "executorch"], default=FORMATS)
    parser.add_argument("--text", type=Path, required=True, help="one tokenized sentence per line")
    parser.add_argument("--words", type=int, default=100_000, help="words of the text for perplexity")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    report = [measure(path, arguments) for path in arguments.bundles]
    print_report(report, arguments.formats)
    if arguments.json is not None:
        from lightrnn_pl.files import write_json

        write_json(arguments.json, report)


if __name__ == "__main__":
    main()
