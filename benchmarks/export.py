"""What an export costs and keeps: bytes, agreement, perplexity before and after, and the speed of a step.

    python benchmarks/export.py runs/light runs/slim --text valid.txt --json outputs/export.json

Every bundle is exported in every format by the command itself, which reads back what it wrote.  A step is one word of
each of ``--batch`` texts: its log-probability, then reading it (``Decoder.step``, and the same through the graphs); the
words are those of the text.  The best of three runs, PyTorch and onnxruntime (32 and 8 bits) in turn, on ``--threads``
threads.
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
    """Words per second of ``step`` along rows of words, one row per step."""
    started = time.perf_counter()
    for row in rows:
        step(row)
    return rows.size / (time.perf_counter() - started)


def speeds(
    bundle: Any, folders: dict[str, Path], text: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Words per second in PyTorch and of the graphs in each of the folders, for each batch size."""
    import torch

    from lightrnn_pl.export.onnx_client import OnnxModel

    vocabulary, decoder = bundle.vocabulary, bundle.decoder
    clients = {name: OnnxModel(folder, arguments.threads) for name, folder in folders.items()}
    most = arguments.steps * max(arguments.batch)
    with text.open(encoding="utf-8") as file:
        ids: list[int] = []
        for line in file:
            ids += vocabulary.encode(line.split()).tolist()
            if len(ids) >= most:
                break
    found = {}
    for batch in arguments.batch:
        rows = torch.tensor(ids[: arguments.steps * batch]).view(-1, batch).numpy()
        kept: dict[str, Any] = {}

        def in_pytorch(row: Any, kept: dict[str, Any] = kept) -> None:
            kept["state"] = decoder.step(kept["state"], torch.from_numpy(row))[1]

        def through_graphs(name: str, row: Any, kept: dict[str, Any] = kept) -> None:
            kept[name] = clients[name].read(row, clients[name].spell(kept[name], row)[1])

        steps = {"pytorch": in_pytorch, **{name: partial(through_graphs, name) for name in clients}}
        best = dict.fromkeys(steps, 0.0)
        for _ in range(3):
            kept.update(state=decoder.start(batch), **{name: client.start(batch) for name, client in clients.items()})
            for name, step in steps.items():
                best[name] = max(best[name], words_per_second(step, rows))
        found[f"batch {batch}"] = best
    return found


def measure(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one bundle."""
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
            own = {"checkpoint": str(path), "output": f"{folder}/{format}", "format": format}
            own |= {"valid": str(arguments.text), "words": arguments.words}
            started = time.perf_counter()
            report = export(OmegaConf.create({**defaults, **own}))
            keep = ("bytes", "total_bytes", "checkpoint_bytes", "agreement", "perplexity", "written_out_bytes")
            result[format] = {key: report[key] for key in keep if key in report}
            result[format]["seconds"] = time.perf_counter() - started
        graphs = {f"onnxruntime, {name}": Path(folder) / name for name in FORMATS if name.startswith("onnx")}
        result["words_per_second"] = speeds(bundle, graphs, arguments.text, arguments)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", help="best.ckpt, run folders or exported folders")
    parser.add_argument("--text", type=Path, required=True, help="one tokenised sentence a line")
    parser.add_argument("--words", type=int, default=100_000, help="of the text, for perplexity")
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
