"""Exact next words: the search over rows compared with brute force over all words, on the contexts of a text.

    python benchmarks/prediction.py RUN TEXT --contexts 1000 --k 10 --json outputs/prediction.json

A context is the beginning of a line of the text, as long as a draw decides.  For each, the k most likely words are
searched and computed by opening every row; they must have the same probabilities to 1e-5, and the words that are found
must have them.  Times are those of one context at a time and of ``--batch`` together, without reading the context,
which costs both the same.  Models of one code a word have no rows: their output's own search is timed.
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
    """Beginnings of different lines, empty ones left out; all that there are where there are fewer."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.split()]
    generator = random.Random(seed)
    chosen = generator.sample(lines, min(number, len(lines)))
    return [words[: generator.randrange(len(words))] for words in chosen]


def timed(step: Callable[[], Any]) -> tuple[Any, float]:
    """What ``step`` returns, and the milliseconds it took."""
    started = time.perf_counter()
    made = step()
    return made, 1e3 * (time.perf_counter() - started)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one bundle on one text."""
    import torch

    from lightrnn_pl import load

    torch.set_num_threads(arguments.threads)
    bundle = load(arguments.bundle)
    decoder, vocabulary = bundle.decoder, bundle.vocabulary
    contexts = contexts_of(arguments.text, arguments.contexts, arguments.seed)
    rows: dict[str, list[float]] = {"searched": [], "dense": [], "opened": [], "apart": [], "greedy": []}
    states = []
    for words in contexts:
        state = decoder.after([vocabulary.encode(words).tolist()])
        states.append(state)
        found, milliseconds = timed(lambda state=state: decoder.search(state, arguments.k))
        every, milliseconds_dense = timed(lambda state=state: decoder.log_probabilities(state))
        best = every.topk(min(arguments.k, decoder.num_words)).values
        # Both the probabilities and what the words found have among all.
        apart = max(
            float((found.log_probabilities - best).abs().max()),
            float((every.gather(1, found.words) - best).abs().max()),
        )
        rows["searched"].append(milliseconds)
        rows["dense"].append(milliseconds_dense)
        rows["opened"].append(int(found.opened))
        rows["apart"].append(apart)
        rows["greedy"].append(float(decoder.search(state, 1, greedy=True).words[0, 0] == every.argmax()))
    batch = [contexts[place : place + arguments.batch] for place in range(0, len(contexts), arguments.batch)]
    together = []
    for some in batch:
        state = decoder.after([vocabulary.encode(words).tolist() for words in some])
        _, milliseconds = timed(lambda state=state: decoder.search(state, arguments.k))
        together.append(milliseconds)

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
        "equal_to_brute_force": sum(apart <= 1e-5 for apart in rows["apart"]),
        "largest_difference": max(rows["apart"]),
        "most_likely_word_in_most_likely_row": sum(rows["greedy"]) / len(contexts),
        "rows_opened": {
            "median": quantile("opened", 0.5),
            "p99": quantile("opened", 0.99),
            "most": max(rows["opened"]),
        },
        "milliseconds": {
            "search": {"median": quantile("searched", 0.5), "p99": quantile("searched", 0.99)},
            "brute_force": {"median": quantile("dense", 0.5), "p99": quantile("dense", 0.99)},
            f"search_{arguments.batch}_together": sum(together) / len(contexts),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="best.ckpt or a run folder")
    parser.add_argument("text", type=Path, help="one tokenised sentence a line")
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
