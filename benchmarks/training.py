"""Training speed of each model in words per second, by vocabulary size.

    python benchmarks/training.py --json outputs/training.json
    python benchmarks/training.py --models full,lightrnn,hybrid --vocabulary 10000 309046 --threads 1 2

All models have the same hidden size, batch and window.  Words are drawn according to Zipf's law.  A step is a forward
and a backward pass, gradient clipping, and an SGD update.  Each case runs in a separate process, and its peak memory is
the increase over the imports.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import (
    check_names,
    compose_config,
    finish,
    median_seconds,
    peak_mib,
    run_in_process,
    zipf_vocabulary,
    zipf_words,
)

MODELS = "full,small,projected,hashed,slim,hierarchical,char_hierarchical,adaptive,lightrnn,hybrid,row_word"


_WARM_UP_WORDS = 200
"""Vocabulary size of the warm-up."""


def run(model_name: str, num_words: int, arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """The results of one model with one vocabulary size."""
    import torch

    from lightrnn_pl.building import build_allocation, build_model, instantiate
    from lightrnn_pl.nn.cores import detach_state
    from lightrnn_pl.nn.language_model import LanguageModel

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    name, _, loss = model_name.partition(":")
    overrides = [f"model={name}", *([f"model/loss={loss}"] if loss else [])]
    if name != "small":
        overrides.append(f"model.hidden_dim={arguments.hidden}")
    config = compose_config(*overrides, "model.num_layers=1", "allocation=random")
    shape = (arguments.batch, arguments.window)

    def create(num_words: int) -> tuple[LanguageModel, Callable[[], None]]:
        vocabulary = zipf_vocabulary(num_words)
        words, targets = zipf_words(num_words, shape, 0), zipf_words(num_words, shape, 1)
        model = build_model(config, build_allocation(config, vocabulary), vocabulary)
        optimizer = instantiate(config.optimizer)(model.parameters())
        previous: list[Any] = [None]

        def step() -> None:
            losses, state = model(words, targets, previous[0])
            previous[0] = detach_state(state)
            optimizer.zero_grad()
            (losses.sum() / len(words)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()

        return model, step

    create(_WARM_UP_WORDS)[1]()  # load libraries that are loaded at first use
    before = peak_mib()
    model, step = create(num_words)
    seconds = median_seconds(step)
    return {
        "model": model_name,
        "embedding": config.model.embedding["_target_"].rpartition(".")[2],
        "compression": config.model.embedding.get("compression"),
        "vocabulary": num_words,
        "hidden": config.model.hidden_dim,
        "phase": "training",
        "threads": threads,
        "seconds": seconds,
        "words_per_second": shape[0] * shape[1] / seconds,
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
