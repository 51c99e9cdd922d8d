"""Exact next words: the search over rows compared with brute force over all words, on contexts from a text.

    python benchmarks/prediction.py RUN TEXT --contexts 1000 --k 10 --json outputs/prediction.json

A context is the beginning of a line of the text, of random length.  For each context, the k most likely words are
determined by the search and by computing the probabilities of all words.  Both must agree to 1e-5.  Times are per
context, for single contexts and for batches of ``--batch``, without the time to read the context, which is the same for
both.  For models with one code per word, which have no rows, the search of the output layer is timed.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def contexts_of(path: Path, number: int, seed: int) -> list[list[str]]:
    """Beginnings of ``number`` different non-empty lines, or of all lines if there are fewer."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.split()]
    generator = random.Random(seed)
    sample = generator.sample(lines, min(number, len(lines)))
    return [words[: generator.randrange(len(words))] for words in sample]


def timed(step: Callable[[], Any]) -> tuple[Any, float]:
    """The result of ``step``, and its time in milliseconds."""
    started = time.perf_counter()
    result = step()
    return result, 1e3 * (time.perf_counter() - started)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All results of one bundle on one text."""
    import torch

    from lightrnn_pl import load

    torch.set_num_threads(arguments.threads)
    bundle = load(arguments.bundle)
    decoder, vocabulary = bundle.decoder, bundle.vocabulary
    contexts = contexts_of(arguments.text, arguments.contexts, arguments.seed)
    rows: dict[str, list[float]] = {"searched": [], "dense": [], "opened": [], "difference": [], "greedy": []}
    states = []
    for words in contexts:
        state = decoder.state_after([vocabulary.encode(words).tolist()])
        states.append(state)
        found, milliseconds = timed(lambda state=state: decoder.search(state, arguments.k))
        dense, milliseconds_dense = timed(lambda state=state: decoder.log_probabilities(state))
        best = dense.topk(min(arguments.k, decoder.num_words)).values
        # Compare the returned probabilities, and those of the returned words.
        difference = max(
            float((found.log_probabilities - best).abs().max()),
            float((dense.gather(1, found.words) - best).abs().max()),
        )
        rows["searched"].append(milliseconds)
        rows["dense"].append(milliseconds_dense)
        rows["opened"].append(int(found.opened))
        rows["difference"].append(difference)
        rows["greedy"].append(float(decoder.search(state, 1, greedy=True).words[0, 0] == dense.argmax()))
    batches = [contexts[start : start + arguments.batch] for start in range(0, len(contexts), arguments.batch)]
    batch_milliseconds = []
    for batch in batches:
        state = decoder.state_after([vocabulary.encode(words).tolist() for words in batch])
        _, milliseconds = timed(lambda state=state: decoder.search(state, arguments.k))
        batch_milliseconds.append(milliseconds)

    def quantile(name: str, share: float) -> float:
        return float(torch.tensor(rows[name], dtype=torch.float64).quantile(share))

    return {
        "bundle": str(arguments.bundle),
        "text": arguments.text.name,
        "words": decoder.num_words,
        "sides": list(bundle.model.allocation.sides),
        "k": arguments.k,
        "threads": arguments.threads,
        "contexts": len(contexts),
        "equal_to_brute_force": sum(difference <= 1e-5 for difference in rows["difference"]),
        "largest_difference": max(rows["difference"]),
        "most_likely_word_in_most_likely_row": sum(rows["greedy"]) / len(contexts),
        "rows_opened": {
            "median": quantile("opened", 0.5),
            "p99": quantile("opened", 0.99),
            "most": max(rows["opened"]),
        },
        "milliseconds": {
            "search": {"median": quantile("searched", 0.5), "p99": quantile("searched", 0.99)},
            "brute_force": {"median": quantile("dense", 0.5), "p99": quantile("dense", 0.99)},
            f"search_{arguments.batch}_together": sum(batch_milliseconds) / len(contexts),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="best.ckpt or a run folder")
    parser.add_argument("text", type=Path, help="one tokenized sentence per line")
    parser.add_argument("--contexts", type=int, default=1000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = measure(arguments)
    print(json.dumps(report, indent=2))
    if arguments.json is not None:
        from lightrnn_pl.files import write_json

        write_json(arguments.json, report)


if __name__ == "__main__":
    main()
