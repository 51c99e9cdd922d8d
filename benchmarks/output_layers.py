"""Time and memory of output layers at the size of BillionW, as in Table 7 of the Slim Embedding paper.

    python benchmarks/output_layers.py --vocabulary 793471 --hidden 2048 --batch 20 --json outputs/output_layers.json
    python benchmarks/output_layers.py --vocabulary 100000 --hidden 512 --batch 20 --outputs full,slim,slim:nce
    python benchmarks/output_layers.py --outputs full,slim --phases inference --device cuda --json outputs/gpu.json

``inference`` computes the exact log-probability of one word for each of ``--batch`` hidden states; a softmax layer
computes the logits of all words.  ``training`` is a forward and a backward pass with the exact loss, or with the loss
after the colon.  Words are drawn according to Zipf's law.  Each case runs in a separate process, and its peak memory is
the increase over the imports, on a GPU that of the memory for tensors.  ``weights_mib`` is the size of the layer's
parameters and maps.  A step on a GPU ends when the GPU has finished its work.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import (
    check_names,
    compose_config,
    finish,
    median_seconds,
    peak_mib,
    run_in_process,
    synchronize,
    zipf_vocabulary,
    zipf_words,
)

from lightrnn_pl.checkpoint import resolve_device

OUTPUTS = (
    "full,projected,slim,hashed,hierarchical,adaptive,multi_component,"
    "full:nce,slim:nce,full:importance_sampling,slim:importance_sampling,full:blackout,slim:blackout"
)


_WARM_UP_WORDS = 200
"""Vocabulary size of the warm-up."""


def run(output: str, phase: str, arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """The results of one layer in one phase."""
    from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides
    from lightrnn_pl.building import build_part
    from lightrnn_pl.nn.outputs import Output

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layer_name, _, loss_name = output.partition(":")
    num_components = 2 if layer_name == "multi_component" else 1
    config = compose_config(
        *(f"model/output={layer_name}", f"model/loss={loss_name or 'exact'}", f"model.hidden_dim={arguments.hidden}"),
        *([f"model.output.compression={arguments.compression}"] if layer_name in ("slim", "hashed") else []),
        *([f"model.output.num_parts={arguments.parts}"] if layer_name == "slim" else []),
        *([f"model.output.projection_dim={arguments.hidden // 4}"] if layer_name == "projected" else []),
    )
    device = torch.device(arguments.device)
    hidden = torch.randn(arguments.batch, num_components, arguments.hidden).to(device)

    def create(num_words: int) -> tuple[Output, Callable[[], None]]:
        table = WordAllocation.in_order(num_words, balanced_sides(num_words, num_components))
        text = {"vocabulary": zipf_vocabulary(num_words), "tokens": None}
        layer = build_part(config.model, "output", allocation=table, hidden_dim=arguments.hidden, **text)
        loss = build_part(config.model, "loss", **text)
        for part in (layer, loss):
            part.initialise(0.1)
            part.to(device)
        targets = zipf_words(num_words, (arguments.batch, 1)).to(device)

        @torch.no_grad()
        def infer() -> None:
            layer.log_probability(hidden, targets)
            synchronize(device)

        def train() -> None:
            layer.zero_grad()
            loss(layer, hidden.requires_grad_(), targets).sum().backward()
            synchronize(device)

        layer.train(phase == "training")
        return layer, train if phase == "training" else infer

    create(_WARM_UP_WORDS)[1]()  # load libraries that are loaded at first use
    before = peak_mib(device)
    layer, step = create(arguments.vocabulary)
    seconds = median_seconds(step)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in layer.parameters())
    return {
        "output": output,
        "embedding": None,
        "compression": arguments.compression if layer_name in ("slim", "hashed") else None,
        "vocabulary": arguments.vocabulary,
        "hidden": arguments.hidden,
        "batch": arguments.batch,
        "phase": phase,
        "device": str(device),
        "threads": threads,
        "seconds": seconds,
        "words_per_second": arguments.batch / seconds,
        "peak_mib": peak_mib(device) - before,
        "weights_mib": (weights + layer.table_bytes) / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=793_471)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=20, help="words in a minibatch")
    parser.add_argument("--outputs", default=OUTPUTS, help="comma-separated: output or output:loss (default: all)")
    parser.add_argument("--phases", default="inference,training")
    parser.add_argument("--compression", type=float, default=0.125, help="compression of slim and hashed layers")
    parser.add_argument("--parts", type=int, default=8, help="K of slim")
    parser.add_argument("--threads", type=int, nargs="*", default=[1])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, or auto for a GPU if there is one")
    parser.add_argument("--json", type=Path, help="JSON file to write; a plot is written next to it")
    arguments = parser.parse_args()
    check_names(parser, "--outputs", arguments.outputs, "model/output")
    try:
        arguments.device = str(resolve_device(arguments.device))
    except ValueError as error:
        parser.exit(2, f"--{error}\n")
    rows = []
    for threads in arguments.threads:
        for phase in arguments.phases.split(","):
            for output in arguments.outputs.split(","):
                if ":" in output and phase == "inference":
                    continue  # the loss is used only in training
                row = run_in_process(run, output, phase, arguments, threads)
                if row is not None:
                    rows.append(row)
    finish(rows, "output", arguments.json)


if __name__ == "__main__":
    main()
