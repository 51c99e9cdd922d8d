"""Writes a model as an ExecuTorch program with one method per step, for apps on Android, iOS and embedded devices.

The methods are those of the graphs of an ONNX export (``row`` and ``column`` for LightRNN), for one text at a time, and
the other files are the same, too.  Both methods share their weights.  Matrix products run in XNNPACK.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from typing_extensions import override

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.export.onnx_client import Ids, Logs, OnnxModel, State
from lightrnn_pl.export.step_folder import describe_step, example_inputs, steps_of, write_step_folder

FORMAT = "lightrnn_pl executorch"
PROGRAM = "model.pte"


def write_executorch(bundle: Bundle, folder: Path, max_bytes: int = 2**30) -> dict[str, Any]:
    """Write the program, vocabulary, word table and metadata into an existing folder.

    Args:
        bundle: The model, on the CPU.
        folder: The folder to write to.
        max_bytes: Maximum size of a table that is written out for a layer that cannot be traced.

    Returns:
        The content of ``metadata.json``.

    Raises:
        ValueError: If a table would exceed ``max_bytes``, or executorch is not installed.
    """
    with _quiet():
        try:
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
        except ModuleNotFoundError as error:
            raise ValueError(
                f"format=executorch requires the package {error.name}: pip install 'lightrnn_pl[executorch]'"
            ) from error
        graphs: list[dict[str, Any]] = []
        written_out: dict[str, int] = {}
        methods: dict[str, torch.export.ExportedProgram] = {}
        # Parts of the initial state can be the same tensor, which torch.export takes for the same input.
        example = tuple(part.clone() for part in example_inputs(bundle.model, 1))
        with torch.no_grad():
            for name, step in steps_of(bundle.model, max_bytes):
                written_out.update(step.written_out)
                graphs.append(describe_step(bundle, name, step, PROGRAM, method=name))
                step(*example)  # tables that a layer computes once become constants of the program
                methods[name] = torch.export.export(step, example)
        program = to_edge_transform_and_lower(
            methods,
            partitioner=[XnnpackPartitioner()],
            compile_config=EdgeCompileConfig(_check_ir_validity=False),  # recurrent layers are decomposed later
        ).to_executorch()
    with (folder / PROGRAM).open("wb") as file:
        program.write_to_file(file)
    return write_step_folder(bundle, folder, graphs, format=FORMAT, weights="float32", written_out_bytes=written_out)


class ExecuTorchModel(OnnxModel):
    """A model that was exported by ``lightrnn-export format=executorch``, run by ExecuTorch on the CPU."""

    @override
    def _open_graphs(self, folder: Path, threads: int) -> list[Any]:
        with _quiet():
            from executorch.runtime import Runtime

            self._program = Runtime.get().load_program(folder / PROGRAM)
            return [self._program.load_method(graph["method"]) for graph in self.metadata["graphs"]]

    @override
    def run(self, axis: int, read: Ids, state: State) -> tuple[Logs, State]:
        results: list[list[Logs]] = []
        for text in range(len(read)):
            inputs = [read[text : text + 1], *(part[:, text : text + 1] for part in state)]
            outputs = self._graphs[axis].execute([torch.from_numpy(np.ascontiguousarray(part)) for part in inputs])
            results.append([output.numpy().copy() for output in outputs])  # the next call overwrites the outputs
        scores, *after = zip(*results, strict=True)
        return np.concatenate(scores), [np.concatenate(part, 1) for part in after]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings of ExecuTorch and its dependencies, which concern neither the model nor its user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
