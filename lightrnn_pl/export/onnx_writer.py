"""A model as ONNX graphs of one step each, with all that a client needs beside them (``metadata.json`` says what).

One graph where words have one code; ``row.onnx`` and ``column.onnx`` for LightRNN, so that a client can search for the
best words row by row without the probabilities of all.  Weights that graphs share stand once, in ``weights.bin``.

In 8 bits, weights are whole numbers with scales, and products are computed in whole numbers, what comes in being scaled
as it comes (dynamic quantisation): LSTMs, matrix products and tables of vectors; all else stays in 32 bits.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from lightrnn_pl.allocation.allocation_file import code_names
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.export import onnx_client
from lightrnn_pl.export.step_modules import CodeStep
from lightrnn_pl.files import write_json
from lightrnn_pl.model_folder import VOCABULARY
from lightrnn_pl.nn.language_model import LanguageModel

FORMAT = "lightrnn_pl onnx"
VERSION = 1
OPSET = 17
METADATA, WEIGHTS = "metadata.json", "weights.bin"
_SMALL = 1024
"""Bytes below which a constant stays in its graph."""

_ORDER = (
    "1. Start: all states zero; run the first graph on the context word (its input as 'reads' says).",
    "2. Its output holds the log-probability of each first code of the next word, or of each word where there is one "
    "code a word.",
    "3. For each further code: run the next graph on the codes of the word so far, as one number (the row for "
    "column.onnx; row * columns + column, and so on, beyond), with the state after the graph before. Its output holds "
    "the log-probability of each next code, -inf where the word table has no word. The log-probability of a word is "
    "the sum of those of its codes.",
    "4. To read a word: run the graphs of step 3 on its codes, then the first graph on it, with the state after them.",
    "A row is at least as likely as each of its words: open rows from the most likely one on, and stop when none that "
    "is closed is more likely than the k-th word found. client.py does all of this.",
)


def write_onnx(bundle: Bundle, folder: Path, most_bytes: int = 2**30, eight_bits: bool = False) -> dict[str, Any]:
    """Write graphs, weights, vocabulary, word table, metadata and a client into a folder that is there; the metadata.

    Args:
        bundle: The model, on the CPU.
        folder: Where to.
        most_bytes: The largest table that may be written out for layers that ONNX cannot compute.
        eight_bits: Whether weights and products are quantised; onnxruntime alone runs such an LSTM.

    Raises:
        ValueError: If a table would be larger, or onnx is not installed.
    """
    import_onnx()
    model, sides = bundle.model, bundle.model.allocation.sides
    names = ["word"] if len(sides) == 1 else code_names(len(sides))
    graphs: list[dict[str, Any]] = []
    written_out: dict[str, int] = {}
    state = _state(model)
    for axis, name in enumerate(names):
        step = CodeStep(model, axis, most_bytes).eval()
        written_out.update(step.written_out)
        inputs = ["read" if axis == 0 else "codes", *(part["name"] for part in state)]
        outputs = ["log_probabilities", *(f"{part['name']}_after" for part in state)]
        _trace(step, folder / f"{name}.onnx", inputs, outputs, state)
        if eight_bits:
            _quantise(folder / f"{name}.onnx")
        graphs.append(
            {
                "file": f"{name}.onnx",
                "inputs": inputs,
                "outputs": outputs,
                "reads": step.reads if axis == 0 else "codes so far",
                "gives": f"natural-log probability of each {name}",
                "input_shape": ["N"],
                "output_shape": ["N", sides[axis]],
            }
        )
    _share_weights([folder / graph["file"] for graph in graphs], folder / WEIGHTS)
    bundle.vocabulary.save(folder / VOCABULARY)
    if len(sides) > 1:
        bundle.save_table(folder / "table.tsv")
    shutil.copyfile(onnx_client.__file__, folder / "client.py")
    content = bundle.content()
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "opset": OPSET,
        "order": list(_ORDER),
        "graphs": graphs,
        "state": [{**part, "shape": [part["layers"], "N", part["size"]]} for part in state],
        "weights": "8 bits" if eight_bits else "float32",
        "types": {"read": "int64", "codes": "int64", "all others": "float32"},
        "num_words": len(bundle.vocabulary),
        "sides": list(sides),
        "vocabulary": VOCABULARY,
        "vocabulary_format": "a header line, then word<TAB>count, the word's id being the line's number from 0",
        "table": "table.tsv" if len(sides) > 1 else None,
        "context": bundle.vocabulary.words[bundle.vocabulary.context_id],
        "unknown": bundle.vocabulary.unknown,
        "end": bundle.vocabulary.end,
        "written_out_bytes": written_out,
        "fingerprints": {name: content[name] for name in ("weights", "table", "words")},
        "metrics": bundle.metrics,
    }
    write_json(folder / METADATA, metadata)
    return metadata


def import_onnx() -> Any:
    """The package.

    Raises:
        ValueError: With the remedy, where it or onnxruntime is not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  # what is written is read back
    except ModuleNotFoundError as error:
        raise ValueError(f"format=onnx needs the package {error.name}: pip install 'lightrnn_pl[export]'") from error
    return onnx


def _state(model: LanguageModel) -> list[dict[str, Any]]:
    """Name and sizes of each part of the core's state."""
    layers = model.core.layers
    names = ("h", "c") if isinstance(layers, torch.nn.LSTM) else ("h",)
    return [{"name": name, "layers": layers.num_layers, "size": layers.hidden_size} for name in names]


def _trace(step: CodeStep, path: Path, inputs: list[str], outputs: list[str], state: list[dict[str, Any]]) -> None:
    axes = {name: {0 if name in (inputs[0], outputs[0]) else 1: "N"} for name in (*inputs, *outputs)}
    example = (torch.zeros(2, dtype=torch.int64), *(torch.zeros(p["layers"], 2, p["size"]) for p in state))
    with torch.no_grad(), warnings.catch_warnings():
        # That the tracing exporter is the older one, and that a batch needs its state as an input, which it is.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            step,
            example,
            str(path),
            dynamo=False,  # the newer one fixes the size of the batch in recurrent layers
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
        )


def _quantise(path: Path) -> None:
    """The same graph in 8 bits."""
    onnx = import_onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(path))
    _copy_shared(graph.graph)
    onnx.save(graph, str(path))

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR  # it advises on graphs that are not as plain as these

    root = logging.getLogger()
    root.addFilter(is_error)
    try:
        # A reduced range: on processors without VNNI, sums of products with full 8-bit weights saturate.
        quantize_dynamic(str(path), str(path), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    finally:
        root.removeFilter(is_error)


def _copy_shared(graph: Any) -> None:
    """Give each user of a constant one of its own: quantisation takes what is passed on for no constant."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Identity" and node.input[0] in constants:
            copy = graph.initializer.add()
            copy.CopyFrom(constants[node.input[0]])
            copy.name = node.output[0]
            graph.node.remove(node)


def _share_weights(graphs: list[Path], path: Path) -> None:
    """Move all larger constants into one file, equal ones once."""
    onnx = import_onnx()
    places: dict[str, tuple[int, int]] = {}
    with path.open("wb") as file:
        for graph in graphs:
            model = onnx.load(str(graph))
            for tensor in model.graph.initializer:
                raw = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(raw) < _SMALL:
                    continue
                digest = hashlib.sha256(raw).hexdigest()
                if digest not in places:
                    places[digest] = (file.tell(), len(raw))
                    file.write(raw)
                    file.write(bytes(-len(raw) % 64))
                tensor.raw_data = raw
                onnx.external_data_helper.set_external_data(tensor, path.name, *places[digest])
                tensor.ClearField("raw_data")
            onnx.save(model, str(graph))
