"""Initial allocations: time, peak memory and typical rows of each strategy.

    python benchmarks/initial_allocations.py wikitext2/train.txt --allocations random,frequency,cooccurrence
    python benchmarks/initial_allocations.py eltec/cs/train.txt --allocations cooccurrence --threads 1

Each allocation is computed in a separate process from cached tokens.  Peak memory is the increase during the
computation, including the memory-mapped tokens.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from harness import check_names, compose_config, peak_mib, run_in_process

ALLOCATIONS = "random,frequency,cooccurrence"


def run(allocation: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The results of one strategy."""
    import torch

    from lightrnn_pl.allocation.inspection import format_rows, typical_codes
    from lightrnn_pl.building import build_allocation, instantiate

    torch.set_num_threads(arguments.threads)
    config = compose_config(
        *("data=text", f"data.train={arguments.text}", f"data.valid={arguments.text}"),
        *(f"allocation={allocation}", f"seed={arguments.seed}", f"paths.cache_dir={arguments.cache_dir}"),
    )
    data = instantiate(config.data)
    data.prepare_data()
    data.setup("fit")
    tokens, vocabulary = data.training_tokens(), data.vocabulary
    before, started = peak_mib(), time.perf_counter()
    table = build_allocation(config, vocabulary, tokens)
    seconds, peak = time.perf_counter() - started, peak_mib() - before
    rows = typical_codes(table, vocabulary.words, vocabulary.counts, codes=arguments.rows, limit=arguments.words)
    return {
        "vocabulary": len(vocabulary),
        "tokens": int(vocabulary.counts.sum()),
        "seconds": seconds,
        "peak_mib": peak,
        "share": sum(row["share"] for row in rows),
        "rows": format_rows({row["code"]: row["words"] for row in rows}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="training text")
    parser.add_argument("--allocations", default=ALLOCATIONS, help="comma-separated (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=10, help="number of most frequent rows to print")
    parser.add_argument("--words", type=int, default=10, help="number of most frequent words to print per row")
    parser.add_argument("--cache-dir", default=".cache/lightrnn_pl")
    arguments = parser.parse_args()
    check_names(parser, "--allocations", arguments.allocations, "allocation")
    for allocation in arguments.allocations.split(","):
        row = run_in_process(run, allocation, arguments)
        if row is not None:
            print(
                f"\n{allocation}: {row['vocabulary']:,} words, {row['tokens']:,} tokens, {row['seconds']:.1f} s, "
                f"{row['peak_mib']:,.0f} MiB; these rows cover {row['share']:.0%} of the text:\n{row['rows']}"
            )


if __name__ == "__main__":
    main()
