"""The files that a client of exported steps needs besides the steps themselves: words, word table, and metadata.

``metadata.json`` describes the steps of a word, their inputs and outputs, and the order in which they are called.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightrnn_pl.allocation.allocation_file import code_names
from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.export import onnx_client
from lightrnn_pl.export.step_modules import CodeStep
from lightrnn_pl.files import file_hash, write_json
from lightrnn_pl.model_folder import VOCABULARY
from lightrnn_pl.nn.language_model import LanguageModel

METADATA, TABLE = "metadata.json", "table.bin"
VERSION = 2

_ORDER = (
    "1. Start: set all states to zero; run the first graph on the context word ('reads' describes the input).",
    "2. The output contains the log-probability of each first code of the next word, or of each word if there is one "
    "code per word.",
    "3. For each further code: run the next graph on the preceding codes of the word, combined into one number (the "
    "row for the graph of columns; row * columns + column for a third code, and so on), with the state of the previous "
    "graph. The output contains the log-probability of each next code; it is -inf if the word table has no such word. "
    "The log-probability of a word is the sum of those of its codes.",
    "4. To read a word: run the graphs of step 3 on its codes, then the first graph on the word, with the resulting "
    "state.",
    "A word cannot be more likely than its row: to find the k most likely words, open rows in order of their "
    "probability, and stop when no closed row is more likely than the k-th best word. client.py, which "
    "lightrnn-export writes with format=onnx, implements this.",
)


def steps_of(model: LanguageModel, max_bytes: int) -> Iterator[tuple[str, CodeStep]]:
    """The steps of a word, each with the name of what it predicts: word; row and column; ...

    Args:
        model: The model, in evaluation mode.
        max_bytes: Maximum size of a table that is written out for a layer that cannot be traced.

    Raises:
        ValueError: If a table would exceed ``max_bytes``.
    """
    num_codes = len(model.allocation.sides)
    for axis, name in enumerate(["word"] if num_codes == 1 else code_names(num_codes)):
        yield name, CodeStep(model, axis, max_bytes).eval()


def example_inputs(model: LanguageModel, batch_size: int) -> tuple[torch.Tensor, ...]:
    """Inputs of a step: codes or words (N,) and the initial state."""
    inputs = torch.zeros(batch_size, 1, model.embedding.embedding_dim)
    return torch.zeros(batch_size, dtype=torch.int64), *model.core.zero_state(inputs)


def describe_step(bundle: Bundle, name: str, step: CodeStep, file: str, **others: str) -> dict[str, Any]:
    """The entry of a step in ``metadata.json``; ``others`` are entries of the format."""
    state = bundle.model.core.state_names
    return {
        "file": file,
        **others,
        "inputs": ["codes" if step.axis else "read", *state],
        "outputs": ["log_probabilities", *(f"{part}_after" for part in state)],
        "reads": "codes so far" if step.axis else step.reads,
        "gives": f"natural-log probability of each {name}",
        "input_shape": ["N"],
        "output_shape": ["N", bundle.model.allocation.sides[step.axis]],
    }


def write_step_folder(bundle: Bundle, folder: Path, graphs: list[dict[str, Any]], **others: Any) -> dict[str, Any]:
    """Write words, word table and metadata into the folder that contains the exported steps.

    Args:
        bundle: The model, on the CPU.
        folder: The folder of the export.
        graphs: The description of each step.
        others: Entries of the format.

    Returns:
        The content of ``metadata.json``.
    """
    model, sides = bundle.model, bundle.model.allocation.sides
    bundle.vocabulary.save(folder / VOCABULARY)
    table_type = np.min_scalar_type(max(sides) - 1).name if len(sides) > 1 else None
    if table_type is not None:
        codes = model.allocation.codes.cpu().numpy()
        (folder / TABLE).write_bytes(codes.astype(np.dtype(table_type).newbyteorder("<")).tobytes())
    content = bundle.content()
    _, *state = example_inputs(model, 1)
    metadata: dict[str, Any] = {
        "version": VERSION,
        **others,
        "order": list(_ORDER),
        "graphs": graphs,
        "state": [
            {"name": name, "layers": len(part), "size": part.shape[2], "shape": [len(part), "N", part.shape[2]]}
            for name, part in zip(model.core.state_names, state, strict=True)
        ],
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
        "fingerprints": {name: content[name] for name in ("weights", "table", "words")},
        "metrics": bundle.metrics,
    }
    written = (path for path in sorted(folder.iterdir()) if path.suffix in (".onnx", ".pte", ".bin", ".gz"))
    metadata["sha256"] = {path.name: file_hash(path) for path in written}
    metadata["fingerprint"] = onnx_client.fingerprint(metadata)
    write_json(folder / METADATA, metadata)
    return metadata
