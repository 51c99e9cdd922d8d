"""Exports: size, agreement with PyTorch, perplexity before and after, and speed of a step.

    python benchmarks/export.py runs/light runs/slim --text valid.txt --json outputs/export.json

Each bundle is exported in each format by ``lightrnn-export``, which also verifies the export.  A step computes the
log-probability of the next word in each of ``--batch`` texts and reads that word (``Decoder.step``, or the same with
the ONNX graphs).  The words are those of the text.  The speed is the best of three runs on ``--threads`` threads, in
which PyTorch and onnxruntime (32 and 8 bits) alternate.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

FORMATS = ("safetensors", "int8", "onnx", "onnx_int8")
CONF = Path(__file__).parents[1] / "conf" / "export.yaml"


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
        rows = torch.tensor(ids[: arguments.steps * batch]).view(-1, batch).numpy()
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


def measure(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All results of one bundle."""
    from omegaconf import OmegaConf

    from lightrnn_pl import load
    from lightrnn_pl.commands.export import export

    bundle = load(path)
    result: dict[str, Any] = {
        "bundle": str(path),
        "words": len(bundle.vocabulary),
        "sides": list(bundle.model.allocation.sides),
        "parameters": bundle.model.num_parameters,
        "threads": arguments.threads,
    }
    defaults = OmegaConf.to_container(OmegaConf.load(CONF), resolve=False)
    assert isinstance(defaults, dict)
    defaults = {key: value for key, value in defaults.items() if key not in ("defaults", "hydra")}
    with tempfile.TemporaryDirectory() as folder:
        for format in FORMATS:
            settings = {"checkpoint": str(path), "output": f"{folder}/{format}", "format": format}
            settings |= {"valid": str(arguments.text), "words": arguments.words}
            started = time.perf_counter()
            report = export(OmegaConf.create({**defaults, **settings}))
            keys = ("bytes", "total_bytes", "checkpoint_bytes", "agreement", "perplexity", "written_out_bytes")
            result[format] = {key: report[key] for key in keys if key in report}
            result[format]["seconds"] = time.perf_counter() - started
        graphs = {f"onnxruntime, {name}": Path(folder) / name for name in FORMATS if name.startswith("onnx")}
        result["words_per_second"] = speeds(bundle, graphs, arguments.text, arguments)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", help="best.ckpt, run folders or exported folders")
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
    print(json.dumps(report, indent=2))
    if arguments.json is not None:
        from lightrnn_pl.files import write_json

        write_json(arguments.json, report)


if __name__ == "__main__":
    main()
