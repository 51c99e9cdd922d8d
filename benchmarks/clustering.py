"""Stages of allocation=cooccurrence: time, CPU time, peak memory, and the quality of the rows and the columns.

    python benchmarks/clustering.py eltec/cs/train.txt --methods default exact
    python benchmarks/clustering.py --counts word_counts.npy --tokens 20800000

Without a text, words are drawn at random with the frequencies of ``--counts`` (an .npy file of integers), after each
word has occurred once.  The method ``default`` depends on the size of the problem; ``exact`` and ``approximate`` apply
to any size.  Each method runs in a separate process.  The quality of rows is the weighted mean cosine distance of the
words to the centers of their rows (lower is better).  That of columns is the share of the weighted variance within rows
that the columns explain (higher is better).
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from harness import peak_mib, run_in_process

METHODS = "default", "exact", "approximate"


def read_tokens(text: Path) -> np.ndarray:
    """Word ids of a text with one end marker per line, numbered by descending frequency."""
    counts: Counter[str] = Counter()
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            counts.update(line.split())
            counts["<eos>"] += 1
    ids = {word: number for number, (word, _) in enumerate(counts.most_common())}
    with text.open(encoding="utf-8") as lines:
        tokens = (ids[word] for line in lines for word in [*line.split(), "<eos>"])
        return np.fromiter(tokens, np.int32, counts.total())


def draw_tokens(word_counts: np.ndarray, num_tokens: int, seed: int) -> np.ndarray:
    """Word ids of a random text that contains each word, numbered by descending frequency."""
    generator = np.random.default_rng(seed)
    cumulative = np.cumsum(word_counts / word_counts.sum())
    drawn = np.searchsorted(cumulative[:-1], generator.random(num_tokens - len(word_counts)))
    tokens = np.concatenate([np.arange(len(word_counts)), drawn])
    generator.shuffle(tokens)
    rank = np.empty(len(word_counts), np.int32)
    rank[np.argsort(-np.bincount(tokens), kind="stable")] = np.arange(len(word_counts), dtype=np.int32)
    return rank[tokens]


def row_distance(vectors: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> float:
    sums = np.zeros((rows.max() + 1, vectors.shape[1]))
    np.add.at(sums, rows, vectors * weights[:, None])
    return float(1 - np.linalg.norm(sums, axis=1).sum() / weights.sum())


def explained_variance(vectors: np.ndarray, weights: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> float:
    deviations = vectors - _means(vectors, weights, rows)[rows]
    explained = np.bincount(columns, weights) @ (_means(deviations, weights, columns) ** 2).sum(1)
    return float(explained / (weights @ (deviations**2).sum(1)))


def _means(vectors: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    sums = np.zeros((codes.max() + 1, vectors.shape[1]))
    np.add.at(sums, codes, vectors * weights[:, None])
    return sums / np.maximum(np.bincount(codes, weights), 1e-9)[:, None]


def run(method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The results of one method."""
    import torch

    from lightrnn_pl.allocation.initial import clustering
    from lightrnn_pl.allocation.initial.cooccurrence import CooccurrenceAllocation
    from lightrnn_pl.allocation.row_bands import RowBand
    from lightrnn_pl.allocation.word_allocation import balanced_sides

    torch.set_num_threads(arguments.threads)
    if arguments.text is not None:
        tokens = read_tokens(arguments.text)
    else:
        tokens = draw_tokens(np.load(arguments.counts), arguments.tokens, arguments.seed)
    counts = np.bincount(tokens)
    num_words = len(counts)
    num_rows, row_size = balanced_sides(num_words, 2)
    if method != "default":
        clustering.EXACT_DISTANCES = num_words**2 if method == "exact" else 0
    passes = arguments.exchange_passes
    allocation = CooccurrenceAllocation(iterations=arguments.iterations, seed=arguments.seed, exchange_passes=passes)
    estimate = allocation.cost(num_words, len(tokens), num_rows, row_size)
    print(f"{method}: {num_words:,} words, {len(tokens):,} tokens; estimate: {estimate}", flush=True)
    before = peak_mib()
    seconds, cpu_seconds = {}, {}

    def measure(stage: str, step: Any) -> Any:
        started, used = time.perf_counter(), time.process_time()
        result = step()
        seconds[stage], cpu_seconds[stage] = time.perf_counter() - started, time.process_time() - used
        return result

    vectors = measure("vectors", lambda: allocation.vectors(range(num_words), counts, tokens))
    capacities = np.full(num_rows, row_size)
    common = allocation.iterations, allocation.seed
    rows = measure("rows", lambda: clustering.balanced_clusters(vectors, counts, capacities, *common))
    band = RowBand(slice(0, num_words), slice(0, num_rows), row_size)
    rows = measure("exchange", lambda: allocation.refine_rows(rows, [band], counts, tokens))
    columns = measure("columns", lambda: clustering.column_clusters(vectors, rows, counts, row_size, *common))
    peak = peak_mib()
    weights = np.sqrt(counts)
    return {
        "words": num_words,
        "tokens": len(tokens),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mib": peak,
        "added_mib": peak - before,
        "row_distance": row_distance(vectors, weights, rows),
        "explained": explained_variance(vectors, weights, rows, columns),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", type=Path, help="training text")
    parser.add_argument("--counts", type=Path, help=".npy file of word counts, for a random text")
    parser.add_argument("--tokens", type=int, default=20_800_000, help="tokens of the random text")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["default"])
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--exchange-passes", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if (arguments.text is None) == (arguments.counts is None):
        parser.error("pass either a text or --counts")
    lines = [
        "| words | method | vectors, CPU s | rows | exchange | columns | total, CPU s | total, s | peak MiB (added) "
        "| row distance | variance explained by columns |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for method in arguments.methods:
        row = run_in_process(run, method, arguments)
        if row is not None:
            used = row["cpu_seconds"]
            stages = " | ".join(f"{used[stage]:.1f}" for stage in ("vectors", "rows", "exchange", "columns"))
            lines.append(
                f"| {row['words']:,} | {method} | {stages} | {sum(used.values()):.1f} | "
                f"{sum(row['seconds'].values()):.1f} | {row['peak_mib']:,.0f} ({row['added_mib']:,.0f}) | "
                f"{row['row_distance']:.4f} | {row['explained']:.4f} |"
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
