"""README.md of an exported model: what it is, how good it is, how it is used; with the header that model hubs read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightrnn_pl.checkpoint import Bundle
from lightrnn_pl.evaluation.perplexity import perplexity
from lightrnn_pl.evaluation.protocol import protocol_lines

USAGE = {
    "safetensors": """```python
from lightrnn_pl import load

lm = load("FOLDER")
lm.score(["a tokenised sentence ."])  # natural-log probability of each word
lm.next_words("a tokenised", k=10)    # the exact ten most likely next words
```

With `transformers` installed:

```python
from transformers import pipeline
import lightrnn_pl.export.transformers_adapter  # registers the model with transformers' Auto classes

pipeline("text-generation", model="FOLDER")("a tokenised", max_new_tokens=10)
```""",
    "onnx": """```
pip install numpy onnxruntime
echo 'a tokenised sentence .' | python client.py .            # natural-log probability, tab, the line
echo 'a tokenised' | python client.py . --next 10             # the exact ten most likely next words
```

`metadata.json` names the graphs, what goes in and out, and in which order they are called; `client.py`, which needs
numpy and onnxruntime only, is a pattern for clients in other languages.""",
}
USAGE["onnx_int8"] = (
    USAGE["onnx"]
    + "\n\nWeights are stored in 8 bits, and LSTMs and matrix products are computed in whole numbers; only onnxruntime "
    "runs such an LSTM."
)
USAGE["int8"] = (
    USAGE["safetensors"]
    + "\n\nWeights are stored in 8 bits with scales and unpacked to 32 bits by `load`; the word table and maps of "
    "shared vectors are stored in as few bits as they need."
)


def model_card(bundle: Bundle, format: str, report: Mapping[str, Any]) -> str:
    """The text of README.md.

    Args:
        bundle: The model.
        format: How it was exported.
        report: Sizes and, where they were measured, perplexities.
    """
    model, config = bundle.model, bundle.config
    sides = model.allocation.sides
    kind = "one code a word" if len(sides) == 1 else f"a word table of {' x '.join(map(str, sides))}"
    parts = {part: type(getattr(model, part)).__name__ for part in ("embedding", "core", "output")}
    rows = [
        ("words", f"{len(bundle.vocabulary):,}"),
        ("spelling", kind),
        *parts.items(),
        ("parameters", f"{model.num_parameters:,}"),
        ("format", format),
    ]
    rows += [(f"{name}, when it was saved", f"{value:.2f}") for name, value in _perplexities(bundle.metrics)]
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

A language model over words, trained with lightrnn_pl.

| | |
| --- | --- |
{table}

## How its text was read

| | |
| --- | --- |
{protocol}

## Use

{USAGE[format]}
"""


def _perplexities(metrics: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """What nested metrics say of how good the model is."""
    found = []
    for name, value in metrics.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            found += _perplexities(value, f"{label} ")
        elif isinstance(value, int | float) and name.endswith("nll"):
            found.append((f"{label.removesuffix('nll')}perplexity", perplexity(value)))
        elif isinstance(value, int | float) and "perplexity" in name:
            found.append((label, value))
    return found
