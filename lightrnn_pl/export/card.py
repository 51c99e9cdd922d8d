"""The model card (README.md) of an exported model, with the metadata header of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.evaluation.protocol import protocol_lines
from lightrnn_pl.number_text import batch_limit_text

USAGE = {
    "safetensors": """```python
from lightrnn_pl import load

lm = load("FOLDER")
lm.score(["a tokenized sentence ."])  # natural-log probability of each word
lm.next_words("a tokenized", k=10)    # the exact ten most likely next words
```

With `transformers` installed:

```python
from transformers import pipeline
import lightrnn_pl.export.transformers_adapter  # registers the model with transformers' Auto classes

pipeline("text-generation", model="FOLDER")("a tokenized", max_new_tokens=10)
```""",
    "onnx": """```
pip install numpy onnxruntime
echo 'a tokenized sentence .' | python client.py .            # natural-log probability, tab, the line
echo 'a tokenized' | python client.py . --next 10             # the exact ten most likely next words
echo 'a tok' | python client.py . --next 3 --complete         # the most likely words that start with "tok"
```

`metadata.json` describes the graphs, their inputs and outputs, and the order in which they are called. `client.py`
requires only numpy and onnxruntime, and `client.mjs` only onnxruntime-web, for web pages and Node.js. A device needs
one of them at most; they can serve as templates for clients in other languages.""",
}
USAGE["onnx_int8"] = (
    USAGE["onnx"]
    + "\n\nWeights are stored in 8 bits. LSTMs and matrix products use integer arithmetic, and such LSTMs require "
    "onnxruntime; the weights of GRUs and RNNs are converted to 32 bits when a graph is loaded."
)
USAGE["int8"] = (
    USAGE["safetensors"]
    + "\n\nWeights are stored in 8 bits with scales and converted to 32 bits by `load`. The word table and the maps of "
    "shared vectors are stored with as few bits as possible."
)

USAGE["executorch"] = """```python
import json

import torch
from executorch.runtime import Runtime

steps = json.load(open("metadata.json"))
program = Runtime.get().load_program("model.pte")
first = program.load_method(steps["graphs"][0]["method"])
state = [torch.zeros(part["layers"], 1, part["size"]) for part in steps["state"]]
log_probabilities, *state = first.execute([torch.tensor([0]), *state])
```

`model.pte` runs on Android, iOS and embedded devices with the ExecuTorch runtime and its XNNPACK backend, one text at a
time. `metadata.json` describes the methods, their inputs and outputs, and the order in which they are called. The
`client.py` that `lightrnn-export format=onnx` writes can serve as a template: it calls the same steps."""

USAGE["sherpa_onnx"] = """```python
import sherpa_onnx

recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
    encoder="encoder.onnx", decoder="decoder.onnx", joiner="joiner.onnx", tokens="tokens.txt",
    decoding_method="modified_beam_search", lm="offline.onnx", lm_scale=0.3,
)
```

`offline.onnx` is for offline transducers, and `online.onnx` for streaming ones (`OnlineRecognizer`, shallow fusion).
Token ids are those of `tokens.txt`; the graphs add the markers of a sentence."""


def model_card(bundle: Bundle, format: str, report: Mapping[str, Any]) -> str:
    """The text of the model card.

    Args:
        bundle: The model.
        format: The export format.
        report: Sizes and, if measured, perplexities.
    """
    model, config = bundle.model, bundle.config
    sides = model.allocation.sides
    codes = "one code per word" if len(sides) == 1 else f"word table of {' x '.join(map(str, sides))}"
    parts = {part: type(getattr(model, part)).__name__ for part in ("embedding", "core", "output")}
    rows = [
        ("words", f"{len(bundle.vocabulary):,}"),
        ("codes", codes),
        *parts.items(),
        ("parameters", f"{model.num_parameters:,}"),
        ("format", format),
    ]
    limit = batch_limit_text(config.get("trainer") or {}, "limit_val_batches", "overfit_batches")
    source = "at training time" if limit is None else f"at training time, on a part of the text: {limit}"
    rows += [(f"{name} ({source})", f"{value:.2f}") for name, value in _perplexities(bundle.metrics)]
    for when in ("before", "after"):
        if report.get("perplexity"):
            value, text = report["perplexity"][when], report["perplexity"]["text"]
            rows.append((f"perplexity {when} export, {text}", f"{value:.2f}"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    protocol = "\n".join(f"| {key} | `{value}` |" for key, value in protocol_lines(bundle.protocol))
    return f"""---
library_name: lightrnn_pl
pipeline_tag: text-generation
tags:
- language-model
- lightrnn
---

# {config.get("name") or "A word-level language model"}

A word-level language model, trained with lightrnn_pl.

| | |
| --- | --- |
{table}

## Evaluation protocol

| | |
| --- | --- |
{protocol}

## Usage

{USAGE[format]}
"""


def _perplexities(metrics: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """All perplexities and losses in nested metrics, as label and perplexity."""
    perplexities = []
    for name, value in metrics.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            perplexities += _perplexities(value, f"{label} ")
        elif isinstance(value, int | float) and name.endswith("nll"):
            perplexities.append((f"{label.removesuffix('nll')}perplexity", perplexity(value)))
        elif isinstance(value, int | float) and "perplexity" in name:
            perplexities.append((label, value))
    return perplexities
