"""First tables: seconds, peak memory and typical rows of each way to make one.

    python benchmarks/first_tables.py wikitext2/train.txt --allocations random,frequency,cooccurrence
    python benchmarks/first_tables.py eltec/cs/train.txt --allocations cooccurrence --threads 1

Every table is made in a process of its own from tokens that are cached already; its peak memory is what it takes above
what was held before, the memory map of the tokens included.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from measuring import check_names, composed, in_process, peak_mib

ALLOCATIONS = "random,frequency,cooccurrence"


def run(allocation: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of one table."""
    import torch

    from lightrnn_pl.allocation.inspection import format_rows, typical_codes
    from lightrnn_pl.building import build_allocation, instantiate

    torch.set_num_threads(arguments.threads)
    config = composed(
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
    parser.add_argument("--rows", type=int, default=10, help="rows shown, those that most of the text falls into")
    parser.add_argument("--words", type=int, default=10, help="words shown of each, the most frequent")
    parser.add_argument("--cache-dir", default=".cache/lightrnn_pl")
    arguments = parser.parse_args()
    check_names(parser, "--allocations", arguments.allocations, "allocation")
    for allocation in arguments.allocations.split(","):
        row = in_process(run, allocation, arguments)
        if row is not None:
            print(
                f"\n{allocation}: {row['vocabulary']:,} words, {row['tokens']:,} tokens, {row['seconds']:.1f} s, "
                f"{row['peak_mib']:,.0f} MiB; the rows shown are {row['share']:.0%} of the text\n{row['rows']}"
            )


if __name__ == "__main__":
    main()
