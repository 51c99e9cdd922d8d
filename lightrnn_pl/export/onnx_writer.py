"""Writes a model as ONNX graphs of one step each, with the files that a client needs (described in ``metadata.json``).

With one code per word, there is one graph.  For LightRNN, there are ``row.onnx`` and ``column.onnx``, so that a client
can search for the best words row by row without computing the probabilities of all words.  Weights are stored once in
``weights.bin``, even if several graphs use them.

In 8 bits, recurrent layers, matrix products and embedding tables have integer weights with scales.  The inputs of LSTMs
and matrix products are quantized at run time (dynamic quantization), and products use integer arithmetic.  onnxruntime
has no such GRUs and RNNs, so their weights are converted to 32 bits when a graph is loaded.  Biases stay in 32 bits.
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

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.export import onnx_client
from lightrnn_pl.export.step_folder import describe_step, example_inputs, steps_of, write_step_folder

FORMAT = "lightrnn_pl onnx"
OPSET = 17
WEIGHTS = "weights.bin"
_MIN_SHARED_BYTES = 1024
"""Smaller constants stay in their graph, as they are."""


def write_onnx(bundle: Bundle, folder: Path, max_bytes: int = 2**30, eight_bits: bool = False) -> dict[str, Any]:
    """Write graphs, weights, vocabulary, word table, metadata and two clients into an existing folder.

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
    graphs: list[dict[str, Any]] = []
    written_out: dict[str, int] = {}
    for name, step in steps_of(bundle.model, max_bytes):
        written_out.update(step.written_out)
        graph = describe_step(bundle, name, step, f"{name}.onnx")
        inputs, outputs = graph["inputs"], graph["outputs"]
        axes = {name: {0 if name in (inputs[0], outputs[0]) else 1: "N"} for name in (*inputs, *outputs)}
        trace_graph(step, example_inputs(bundle.model, 2), folder / graph["file"], inputs, outputs, axes)
        if eight_bits:
            _quantize(folder / graph["file"])
        _shorten_integers(folder / graph["file"])
        graphs.append(graph)
    _share_weights([folder / graph["file"] for graph in graphs], folder / WEIGHTS)
    for suffix in (".py", ".mjs"):
        shutil.copyfile(Path(onnx_client.__file__).with_suffix(suffix), (folder / "client").with_suffix(suffix))
    return write_step_folder(
        bundle,
        folder,
        graphs,
        format=FORMAT,
        opset=OPSET,
        weights="8 bits" if eight_bits else "float32",
        written_out_bytes=written_out,
    )


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
    _quantize_weights(graph.graph, ("GRU", "RNN"))
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


def _quantize_weights(graph: Any, operators: tuple[str, ...]) -> None:
    """Store the weights of recurrent layers as integers, with a scale per row, and a node that converts them back."""
    onnx = import_onnx()
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for layer in [node for node in graph.node if node.op_type in operators]:
        for name in layer.input[1:3]:  # the weights of the inputs and of the state, of shape (1, rows, columns)
            weights = onnx.numpy_helper.to_array(constants[name])
            scales = np.abs(weights).max(axis=(0, 2)) / 127
            scales[scales == 0] = 1
            integers = np.rint(weights / scales[:, None]).astype(np.int8)
            graph.initializer.remove(constants[name])
            for part, values in (("integers", integers), ("scales", scales)):
                graph.initializer.append(onnx.numpy_helper.from_array(values, f"{name}.{part}"))
            parts = [f"{name}.integers", f"{name}.scales"]
            graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", parts, [name], axis=1))


def _shorten_integers(path: Path) -> None:
    """Store tables of integers, such as the words of each row, in 8 or 16 bits if they fit, and convert them back."""
    onnx = import_onnx()
    model = onnx.load(str(path))
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        if node.attribute[0].name == "value" and node.attribute[0].t.ByteSize() >= _MIN_SHARED_BYTES:
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.node.remove(node)
    wide = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    for tensor in [tensor for tensor in graph.initializer if tensor.data_type in wide]:
        values = onnx.numpy_helper.to_array(tensor)
        if values.nbytes < _MIN_SHARED_BYTES or np.ptp(values) > np.iinfo(np.uint16).max:
            continue
        lowest, name = values.min(), tensor.name  # -1 if a row has empty cells
        short = (values - lowest).astype(np.min_scalar_type(np.ptp(values)))
        nodes = [onnx.helper.make_node("Cast", [f"{name}.short"], [f"{name}.wide"], to=tensor.data_type)]
        nodes.append(onnx.helper.make_node("Add", [f"{name}.wide", f"{name}.lowest"], [name]))
        for index, node in enumerate(nodes):
            graph.node.insert(index, node)
        graph.initializer.remove(tensor)
        for part, content in (("short", short), ("lowest", lowest)):
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(content), f"{name}.{part}"))
    onnx.save(model, str(path))


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
