"""Writes a model as ONNX graphs of one step each, with the files that a client needs (described in ``metadata.json``).

With one code per word, there is one graph.  For LightRNN, there are ``row.onnx`` and ``column.onnx``, so that a client
can search for the best words row by row without computing the probabilities of all words.  Weights are stored once in
``weights.bin``, even if several graphs use them.

In 8 bits, LSTMs, matrix products and embedding tables have integer weights with scales.  Their inputs are quantized at
run time (dynamic quantization), and products use integer arithmetic.  Everything else stays in 32 bits.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lightrnn_pl.allocation.allocation_file import code_names
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.export import onnx_client
from lightrnn_pl.export.step_modules import CodeStep
from lightrnn_pl.files import file_hash, write_json
from lightrnn_pl.model_folder import VOCABULARY
from lightrnn_pl.nn.language_model import LanguageModel

FORMAT = "lightrnn_pl onnx"
VERSION = 2
OPSET = 17
METADATA, WEIGHTS, TABLE = "metadata.json", "weights.bin", "table.bin"
_MIN_SHARED_BYTES = 1024
"""Smaller constants stay in their graph."""

_ORDER = (
    "1. Start: set all states to zero; run the first graph on the context word ('reads' describes the input).",
    "2. The output contains the log-probability of each first code of the next word, or of each word if there is one "
    "code per word.",
    "3. For each further code: run the next graph on the preceding codes of the word, combined into one number (the "
    "row for column.onnx; row * columns + column for a third code, and so on), with the state of the previous graph. "
    "The output contains the log-probability of each next code; it is -inf if the word table has no such word. The "
    "log-probability of a word is the sum of those of its codes.",
    "4. To read a word: run the graphs of step 3 on its codes, then the first graph on the word, with the resulting "
    "state.",
    "A word cannot be more likely than its row: to find the k most likely words, open rows in order of their "
    "probability, and stop when no closed row is more likely than the k-th best word. client.py implements this.",
)


def write_onnx(bundle: Bundle, folder: Path, max_bytes: int = 2**30, eight_bits: bool = False) -> dict[str, Any]:
    """Write graphs, weights, vocabulary, word table, metadata and a client into an existing folder.

    Args:
        bundle: The model, on the CPU.
        folder: The folder to write to.
        max_bytes: Maximum size of a table that is written out for a layer that ONNX does not support.
        eight_bits: Whether to quantize weights and products; only onnxruntime supports such LSTMs.

    Returns:
        The content of ``metadata.json``.

    Raises:
        ValueError: If a table would exceed ``max_bytes``, or onnx is not installed.
    """
    import_onnx()
    model, sides = bundle.model, bundle.model.allocation.sides
    names = ["word"] if len(sides) == 1 else code_names(len(sides))
    graphs: list[dict[str, Any]] = []
    written_out: dict[str, int] = {}
    state = _state(model)
    for axis, name in enumerate(names):
        step = CodeStep(model, axis, max_bytes).eval()
        written_out.update(step.written_out)
        inputs = ["read" if axis == 0 else "codes", *(part["name"] for part in state)]
        outputs = ["log_probabilities", *(f"{part['name']}_after" for part in state)]
        axes = {name: {0 if name in (inputs[0], outputs[0]) else 1: "N"} for name in (*inputs, *outputs)}
        example = (torch.zeros(2, dtype=torch.int64), *(torch.zeros(p["layers"], 2, p["size"]) for p in state))
        trace_graph(step, example, folder / f"{name}.onnx", inputs, outputs, axes)
        if eight_bits:
            _quantize(folder / f"{name}.onnx")
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
    table_type = np.min_scalar_type(max(sides) - 1).name if len(sides) > 1 else None
    if table_type is not None:
        codes = model.allocation.codes.cpu().numpy()
        (folder / TABLE).write_bytes(codes.astype(np.dtype(table_type).newbyteorder("<")).tobytes())
    shutil.copyfile(onnx_client.__file__, folder / "client.py")
    content = bundle.content()
    metadata: dict[str, Any] = {
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
        "vocabulary_format": "UTF-8, compressed with gzip: a header line, then word<TAB>count, the word's id being the "
        "line's number from 0",
        "table": None if table_type is None else TABLE,
        "table_type": table_type,
        "table_format": "the codes of word 0, those of word 1, ...: unsigned integers, lowest byte first",
        "context": bundle.vocabulary.words[bundle.vocabulary.context_id],
        "unknown": bundle.vocabulary.unknown,
        "end": bundle.vocabulary.end,
        "written_out_bytes": written_out,
        "fingerprints": {name: content[name] for name in ("weights", "table", "words")},
        "metrics": bundle.metrics,
    }
    written = (path for path in sorted(folder.iterdir()) if path.suffix in (".onnx", ".bin", ".gz"))
    metadata["sha256"] = {path.name: file_hash(path) for path in written}
    metadata["fingerprint"] = onnx_client.fingerprint(metadata)
    write_json(folder / METADATA, metadata)
    return metadata


def import_onnx() -> Any:
    """Import ``onnx``.

    Raises:
        ValueError: If it or onnxruntime is not installed; the message contains the remedy.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  # required to verify the export
    except ModuleNotFoundError as error:
        raise ValueError(f"format=onnx requires the package {error.name}: pip install 'lightrnn_pl[export]'") from error
    return onnx


def _state(model: LanguageModel) -> list[dict[str, Any]]:
    """The name and the sizes of each part of the recurrent state."""
    parts = model.core.zero_state(torch.zeros(1, 1, model.embedding.embedding_dim))
    return [
        {"name": name, "layers": part.shape[0], "size": part.shape[2]}
        for name, part in zip(model.core.state_names, parts, strict=True)
    ]


def trace_graph(
    module: nn.Module,
    example: tuple[torch.Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    """Write a traceable module as an ONNX graph.

    Args:
        module: The module, in evaluation mode.
        example: Inputs of valid values and sizes.
        path: The file to write.
        inputs: The names of the inputs.
        outputs: The names of the outputs.
        axes: Input or output -> axis -> the name of its size, for axes of any size.
    """
    with torch.no_grad(), warnings.catch_warnings():
        module(*example)  # tables that a layer computes once become constants of the graph
        # The warnings concern the legacy exporter, recurrent layers without a state input, and constants.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            str(path),
            dynamo=False,  # the new exporter fixes the batch size of recurrent layers
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
        )


def _quantize(path: Path) -> None:
    """Replace a graph by its 8-bit version."""
    onnx = import_onnx()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(path))
    _copy_shared(graph.graph)
    onnx.save(graph, str(path))

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR  # hide recommendations of the quantizer that do not apply

    root = logging.getLogger()
    root.addFilter(is_error)
    try:
        # On processors without VNNI, sums of products with full-range 8-bit weights saturate.
        quantize_dynamic(str(path), str(path), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    finally:
        root.removeFilter(is_error)


def _copy_shared(graph: Any) -> None:
    """Replace Identity nodes by copies of their constant, because the quantizer does not follow them."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Identity" and node.input[0] in constants:
            copy = graph.initializer.add()
            copy.CopyFrom(constants[node.input[0]])
            copy.name = node.output[0]
            graph.node.remove(node)


def _share_weights(graphs: list[Path], path: Path) -> None:
    """Move large constants into one file, without duplicates."""
    onnx = import_onnx()
    offsets: dict[str, tuple[int, int]] = {}
    with path.open("wb") as file:
        for graph in graphs:
            model = onnx.load(str(graph))
            for tensor in model.graph.initializer:
                raw = onnx.numpy_helper.to_array(tensor).tobytes()
                if len(raw) < _MIN_SHARED_BYTES:
                    continue
                digest = hashlib.sha256(raw).hexdigest()
                if digest not in offsets:
                    offsets[digest] = (file.tell(), len(raw))
                    file.write(raw)
                    file.write(bytes(-len(raw) % 64))
                tensor.raw_data = raw
                onnx.external_data_helper.set_external_data(tensor, path.name, *offsets[digest])
                tensor.ClearField("raw_data")
            onnx.save(model, str(graph))
