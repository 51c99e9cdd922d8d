"""Everything that depends on a GPU: tests, training speed, reallocation, output layers, and one training run.

    benchmarks/gpu.sh --json outputs/gpu.json            # all of it, in under ten minutes
    benchmarks/gpu.sh --parts speed --models lightrnn    # a part
    benchmarks/gpu.sh --reduced --device cpu             # tiny sizes, to check that it runs

Each part adds rows to the JSON file, which is rewritten after each measurement, so that an interruption loses nothing.
A measurement that fails, such as for lack of memory, is stored with its error.  The Markdown file next to it has one
table per part.  No measurement starts after ``--minutes``.

``peak``      operations per second of a large matrix product in each precision
``tests``     the tests that need a GPU
``speed``     training of each model, the published one (pytorch/examples' word_language_model) included, with the share
              of ``peak`` that its matrix products reach
``slim``      an output layer at the size of BillionW: Slim Embedding, Table 7
``statistics``  collecting loss statistics, and the costs of a reallocation computed from them
``training``  LightRNN's Table 2 at small scale on Penn Treebank, next to the perplexity in docs/results
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import output_layers
import torch
from harness import compose_config, median_seconds, peak_mib, synchronize, zipf_words
from training_step import PUBLISHED, Setting, create_step

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides
from lightrnn_pl.checkpoint import resolve_device
from lightrnn_pl.files import atomic_write, write_json
from lightrnn_pl.training.experiment import train

ROOT = Path(__file__).parents[1]
MODELS = (
    f"{PUBLISHED},full,adaptive,slim,slim:nce,hierarchical,row_word,lightrnn,hybrid,"
    "lightrnn model/core=mingru,full model/core=mingru"
)
REDUCED_MODELS = f"{PUBLISHED},full,slim:nce,lightrnn model/core=mingru"
REFERENCE = "docs/results/lightrnn_table2-ptb/metrics/lightrnn-table2-200-seed0/metrics.json"
"""A run of the part ``training`` on a CPU."""
TRAINING = ("experiment=lightrnn/table2", "paper.model=lightrnn-200", "scale=small", "data=ptb")
TINY_TRAINING = (
    *("data=text", "data.batch_size=4", "data.sequence_length=5", "data.eval_batch_size=2", "trainer.max_epochs=1"),
    *("model.hidden_dim=16", "model.num_layers=1", "reallocation=none", "allocation=random"),
)
GPU_TESTS = (
    *("tests/training/test_host_waits.py", "tests/training/test_precision.py", "tests/nn/test_cores.py"),
    *("tests/nn/outputs", "-k", "gpu or precision or layer_by_layer"),
)

Row = dict[str, Any]


def peak(arguments: argparse.Namespace, device: torch.device) -> Iterator[Callable[[], Row]]:
    size = 64 if arguments.reduced else 8192

    def measure(precision: str, tf32: bool) -> Row:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        left, right = (torch.randn(size, size, device=device, dtype=getattr(torch, precision)) for _ in range(2))
        seconds = _seconds(lambda: left @ right, device)
        torch.backends.cuda.matmul.allow_tf32 = False
        return {"precision": "tf32" if tf32 else precision, "tflops": 2 * size**3 / seconds / 1e12}

    for precision in ("float32", "float16", "bfloat16"):
        yield lambda precision=precision: measure(precision, False)
    if device.type == "cuda":
        yield lambda: measure("float32", True)


def tests(arguments: argparse.Namespace, device: torch.device) -> Iterator[Callable[[], Row]]:
    def measure() -> Row:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *GPU_TESTS]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return {"returncode": done.returncode, "summary": done.stdout.strip().splitlines()[-1]}

    if not arguments.reduced:  # the tests run anyway
        yield measure


def speed(arguments: argparse.Namespace, device: torch.device) -> Iterator[Callable[[], Row]]:
    def measure(name: str, setting: Setting) -> Row:
        _reset_memory(device)
        step = create_step(name, setting)
        seconds = _seconds(step.run, device)
        operations = step.operations()
        return {
            "model": name,
            "vocabulary": setting.num_words,
            "hidden": setting.hidden,
            "precision": setting.precision,
            "words_per_second": setting.batch * setting.window / seconds,
            "milliseconds": 1e3 * seconds,
            "tflops": operations / seconds / 1e12,
            "peak_mib": peak_mib(device),
            "parameters": sum(parameter.numel() for parameter in step.model.parameters()),
        }

    hidden, batch, window = (40, 2, 4) if arguments.reduced else (1000, 128, 35)
    sizes = {"hidden": arguments.hidden or hidden, "batch": batch, "window": window}
    for num_words in arguments.vocabulary or ([300] if arguments.reduced else [10_000, 137_000, 793_471]):
        for precision in ("float32",) if arguments.reduced else arguments.precisions.split(","):
            for name in (arguments.models or (REDUCED_MODELS if arguments.reduced else MODELS)).split(","):
                setting = Setting(num_words, layers=2, device=str(device), precision=precision, **sizes)
                yield lambda name=name, setting=setting: measure(name, setting)


def slim(arguments: argparse.Namespace, device: torch.device) -> Iterator[Callable[[], Row]]:
    num_words, hidden, batch = (100, 16, 2) if arguments.reduced else (793_471, 2048, 20)
    case = argparse.Namespace(
        vocabulary=num_words, hidden=hidden, batch=batch, compression=0.125, parts=8, device=str(device)
    )
    for phase in ("inference", "training"):
        for output in ("full", "slim"):
            yield lambda output=output, phase=phase: output_layers.run(output, phase, case, torch.get_num_threads())


def statistics(arguments: argparse.Namespace, device: torch.device) -> Iterator[Callable[[], Row]]:
    num_words, hidden, batch = (200, 8, 20) if arguments.reduced else (793_471, 1000, 128 * 35)

    def measure() -> Row:
        _reset_memory(device)
        sides = balanced_sides(num_words, 2)
        allocation = WordAllocation.random(num_words, sides, 0)
        weights = [torch.randn(side, hidden, device=device) for side in sides]
        collected = LossStatistics(allocation, weights, [torch.zeros(side, device=device) for side in sides])
        words = zipf_words(num_words, (batch,)).to(device)
        states = torch.randn(batch, 2, hidden, device=device)
        seconds = _seconds(lambda: collected.update(words, states), device)
        started = time.perf_counter()
        collected.problem()
        return {
            "vocabulary": num_words,
            "hidden": hidden,
            "words_per_second": batch / seconds,
            "seconds_of_costs": time.perf_counter() - started,
            "peak_mib": peak_mib(device),
        }

    yield measure


def training(arguments: argparse.Namespace, device: torch.device) -> Iterator[Callable[[], Row]]:
    def measure(precision: str) -> Row:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "text.txt"
            text.write_text("a few words and a few more\n" * 20, encoding="utf-8")
            files = [f"data.{split}={text}" for split in ("train", "valid", "test")]
            overrides = (*TINY_TRAINING, *files) if arguments.reduced else TRAINING
            config = compose_config(
                *(*overrides, "callbacks=quiet", "logger=none", f"paths.run_dir={folder}/run"),
                *(f"paths.cache_dir={folder}/cache", f"trainer.precision={precision}"),
                f"trainer={'cpu' if device.type == 'cpu' else 'gpu'}",
            )
            metrics = train(config)
        reference = json.loads((ROOT / REFERENCE).read_text(encoding="utf-8"))["test"]["perplexity"]
        return {
            "precision": precision,
            "words_per_second": metrics["words_per_second"],
            "seconds": metrics["seconds"],
            "test_perplexity": metrics["test"]["perplexity"],
            "reference_perplexity": None if arguments.reduced else reference,
        }

    for precision in ("auto",) if arguments.reduced else ("32-true", "auto"):
        yield lambda precision=precision: measure(precision)


PARTS: dict[str, Callable[[argparse.Namespace, torch.device], Iterator[Callable[[], Row]]]] = {
    "peak": peak,
    "tests": tests,
    "training": training,
    "slim": slim,
    "statistics": statistics,
    "speed": speed,
}
"""The parts in the order in which they run; the longest is the last."""


def run(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Run all parts; returns the content of the JSON file."""
    result: dict[str, Any] = {"machine": _describe(device), "reduced": arguments.reduced}
    started = time.monotonic()
    for part in arguments.parts.split(","):
        rows = result[part] = []
        for measure in PARTS[part](arguments, device):
            if time.monotonic() - started > 60 * arguments.minutes:
                rows.append({"error": f"not started after --minutes={arguments.minutes:g}"})
                break
            try:
                row = measure()
            except Exception as error:  # the other measurements are still useful
                row = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            rows.append(row)
            print(part, json.dumps(row), flush=True)
            _add_shares(result)
            write_json(arguments.json, result)
            with atomic_write(arguments.json.with_suffix(".md")) as file:
                file.write(markdown(result).encode())
    return result


def markdown(result: dict[str, Any]) -> str:
    """One table per part; a column for each key of its rows."""
    lines = ["# GPU benchmark", "", ", ".join(f"{key}: {value}" for key, value in result["machine"].items()), ""]
    for part, rows in result.items():
        if not isinstance(rows, list) or not rows:
            continue
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines += [f"## {part}", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
        lines += [f"| {' | '.join(_format(row.get(column)) for column in columns)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def _format(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _add_shares(result: dict[str, Any]) -> None:
    """Add the share of the device's peak that each step reaches."""
    peaks = {row["precision"]: row["tflops"] for row in result.get("peak", ()) if "tflops" in row}
    for row in result.get("speed", ()):
        if row.get("precision") in peaks:
            row["share_of_peak"] = row["tflops"] / peaks[row["precision"]]


def _seconds(step: Callable[[], Any], device: torch.device) -> float:
    def waiting() -> None:
        step()
        synchronize(device)

    waiting()
    return median_seconds(waiting, min_seconds=0.0 if device.type == "cpu" else 1.0)


def _reset_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _describe(device: torch.device) -> Row:
    machine: Row = {"device": str(device), "torch": torch.__version__, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        machine |= {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "cudnn": torch.backends.cudnn.version(),
        }
    return machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cuda, cuda:1, cpu, or auto for a GPU if there is one")
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated (default: all)")
    parser.add_argument("--models", help=f"models of the part speed, with overrides after a space (default: {MODELS})")
    parser.add_argument("--vocabulary", type=int, nargs="*", help="vocabulary sizes of the part speed")
    parser.add_argument("--hidden", type=int, help="hidden size of the part speed")
    parser.add_argument("--precisions", default="float32,bfloat16,float16", help="precisions of the part speed")
    parser.add_argument("--minutes", type=float, default=9.0, help="start no measurement after this time")
    parser.add_argument("--reduced", action="store_true", help="tiny sizes, to check that everything runs")
    parser.add_argument("--json", type=Path, default=Path("outputs/gpu.json"), help="JSON file to write")
    arguments = parser.parse_args()
    unknown = [part for part in arguments.parts.split(",") if part not in PARTS]
    if unknown:
        parser.error(f"--parts has {unknown[0]!r}; choose from {', '.join(PARTS)}")
    try:
        device = resolve_device(arguments.device)
    except ValueError as error:
        parser.exit(2, f"--{error}\n")
    if device.type == "cpu" and not arguments.reduced:
        parser.exit(2, "no GPU is available on this machine; --reduced --device cpu checks that everything runs\n")
    with contextlib.suppress(KeyboardInterrupt):
        run(arguments, device)
    print(f"results: {arguments.json}, {arguments.json.with_suffix('.md')}")


if __name__ == "__main__":
    main()
