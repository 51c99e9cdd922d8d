"""Words per second in training, for every model, by size of the vocabulary.

    python benchmarks/training.py --json outputs/training.json
    python benchmarks/training.py --models full,lightrnn,hybrid --vocabulary 10000 309046 --threads 1 2

All models have the same hidden size, batch and window; text is drawn by Zipf's law; a step is forward, backward,
clipping and an SGD update.  Every case runs in a process of its own; its peak memory is what it takes above imports.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import check_names, composed, finish, in_process, median_seconds, peak_mib, zipf_vocabulary, zipf_words

MODELS = "full,small,projected,hashed,slim,hierarchical,char_hierarchical,adaptive,lightrnn,hybrid"


_SMALL = 200
"""Words of the model that is tried first."""


def run(model_name: str, num_words: int, arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Figures of one model on one vocabulary."""
    import torch

    from lightrnn_pl.building import build_allocation, build_model, instantiate
    from lightrnn_pl.nn.cores import detach_state
    from lightrnn_pl.nn.language_model import LanguageModel

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    name, _, loss = model_name.partition(":")
    chosen = [f"model={name}", *([f"model/loss={loss}"] if loss else [])]
    if name != "small":
        chosen.append(f"model.hidden_dim={arguments.hidden}")
    config = composed(*chosen, "model.num_layers=1", "allocation=random")
    shape = (arguments.batch, arguments.window)

    def made(num_words: int) -> tuple[LanguageModel, Callable[[], None]]:
        vocabulary = zipf_vocabulary(num_words)
        words, targets = zipf_words(num_words, shape, 0), zipf_words(num_words, shape, 1)
        model = build_model(config, build_allocation(config, vocabulary), vocabulary)
        optimizer = instantiate(config.optimizer)(model.parameters())
        carried: list[Any] = [None]

        def step() -> None:
            losses, state = model(words, targets, carried[0])
            carried[0] = detach_state(state)
            optimizer.zero_grad()
            (losses.sum() / len(words)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()

        return model, step

    made(_SMALL)[1]()  # what is loaded at first use is no memory of the model's
    before = peak_mib()
    model, step = made(num_words)
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
    parser.add_argument("--batch", type=int, default=20, help="streams")
    parser.add_argument("--window", type=int, default=35, help="words of each stream in a step")
    parser.add_argument("--threads", type=int, nargs="*", default=[1])
    parser.add_argument("--json", type=Path, help="write the figures here, and a picture beside it")
    arguments = parser.parse_args()
    check_names(parser, "--models", arguments.models, "model")
    rows = []
    for threads in arguments.threads:
        for num_words in arguments.vocabulary:
            for model in arguments.models.split(","):
                row = in_process(run, model, num_words, arguments, threads)
                if row is not None:
                    rows.append(row)
    finish(rows, "model", arguments.json)


if __name__ == "__main__":
    main()
