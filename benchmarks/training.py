"""Training speed of each model in words per second, by vocabulary size.

    python benchmarks/training.py --json outputs/training.json
    python benchmarks/training.py --models full,lightrnn,hybrid --vocabulary 10000 309046 --threads 1 2

All models have the same hidden size, batch and window.  Words are drawn according to Zipf's law.  A step is a forward
and a backward pass, gradient clipping, and an SGD update.  Each case runs in a separate process, and its peak memory is
the increase over the imports.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness import (
    check_names,
    finish,
    median_seconds,
    peak_mib,
    run_in_process,
)

MODELS = "full,small,projected,hashed,slim,hierarchical,char_hierarchical,adaptive,lightrnn,hybrid,row_word"


_WARM_UP_WORDS = 200
"""Vocabulary size of the warm-up."""


def run(model_name: str, num_words: int, arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """The results of one model with one vocabulary size."""
    import torch
    from training_step import Setting, create_step

    torch.set_num_threads(threads)
    sizes = {"hidden": arguments.hidden, "batch": arguments.batch, "window": arguments.window, "dropout": 0.5}
    create_step(model_name, Setting(_WARM_UP_WORDS, **sizes)).run()  # load libraries that are loaded at first use
    before = peak_mib()
    step = create_step(model_name, Setting(num_words, **sizes))
    seconds = median_seconds(step.run)
    model: Any = step.model
    return {
        "model": model_name,
        "embedding": type(model.embedding).__name__,
        "compression": step.compression,
        "vocabulary": num_words,
        "hidden": model.output.hidden_dim,
        "phase": "training",
        "threads": threads,
        "seconds": seconds,
        "words_per_second": arguments.batch * arguments.window / seconds,
        "peak_mib": peak_mib() - before,
        "weights_mib": sum(model.num_bytes.values()) / 2**20,
        "parameters": model.num_parameters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS, help="comma-separated: model or model:loss (default: all)")
    parser.add_argument("--vocabulary", type=int, nargs="*", default=[10_000, 60_025, 137_000, 309_046])
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--batch", type=int, default=20, help="number of streams")
    parser.add_argument("--window", type=int, default=35, help="words per stream and step")
    parser.add_argument("--threads", type=int, nargs="*", default=[1])
    parser.add_argument("--json", type=Path, help="JSON file to write; a plot is written next to it")
    arguments = parser.parse_args()
    check_names(parser, "--models", arguments.models, "model")
    rows = []
    for threads in arguments.threads:
        for num_words in arguments.vocabulary:
            for model in arguments.models.split(","):
                row = run_in_process(run, model, num_words, arguments, threads)
                if row is not None:
                    rows.append(row)
    finish(rows, "model", arguments.json)


if __name__ == "__main__":
    main()
