"""Speed and memory of reading text: the token cache, and one epoch of ``data.cache=false``.

    python benchmarks/text_reading.py --tokens 100000000 --folder text

Writes a text whose words follow Zipf's law, or whose counts are those of a file, as shards and in the layout of the One
Billion Word benchmark. Each case runs in its own process. CPU seconds include all threads, so they can be compared on a
machine that runs other jobs.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).parent))

from harness import peak_mib, run_in_process

_LINES = 100_000  # lines generated at a time
_MEAN_LENGTH = 26  # words per line


def write_shards(folder: Path, num_tokens: int, counts: np.ndarray, num_shards: int, compress: bool) -> int:
    """Write shards of text, and return their size in bytes. Tokens include one end marker per line."""
    generator = np.random.default_rng(0)
    cumulative = np.cumsum(counts / counts.sum())
    words = pa.array([np.base_repr(number, 36).lower() for number in range(36, 36 + len(counts))])
    folder.mkdir(parents=True)
    size = 0
    for shard in range(num_shards):
        path = folder / f"news.en-{shard + 1:05d}-of-{num_shards + 1:05d}{'.gz' if compress else ''}"
        with gzip.open(path, "wb", compresslevel=1) if compress else path.open("wb") as file:
            remaining = num_tokens // num_shards
            while remaining > 0:
                lengths = generator.integers(10, 2 * _MEAN_LENGTH - 10, min(_LINES, remaining // _MEAN_LENGTH + 1))
                ids = np.searchsorted(cumulative, generator.random(lengths.sum()))
                offsets = np.concatenate([[0], np.cumsum(lengths)])
                lines = pc.binary_join(pa.ListArray.from_arrays(offsets, words.take(pa.array(ids))), " ")
                block = ("\n".join(lines.to_pylist()) + "\n").encode()
                file.write(block)
                size += len(block)
                remaining -= len(ids) + len(lengths)
    return size


def measure(case: str, pattern: str, folder: str) -> dict[str, Any]:
    from lightrnn_pl.data.corpus import TextCorpus
    from lightrnn_pl.data.tokens import TokenStream, open_cache
    from lightrnn_pl.vocabulary import VocabularyRules

    corpus = TextCorpus(pattern)
    started, used = time.perf_counter(), time.process_time()
    if case == "token cache":
        cache = open_cache(corpus, VocabularyRules(), folder)
        tokens = cache.num_tokens["train"]
    else:
        vocabulary = open_cache(corpus, VocabularyRules(), folder).vocabulary
        started, used = time.perf_counter(), time.process_time()
        tokens = sum(len(ids) for ids in TokenStream(corpus, "train", vocabulary))
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    return {"case": case, "tokens": tokens, "seconds": seconds, "cpu": cpu, "peak_mib": peak_mib()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--words", type=int, default=793_471, help="size of the vocabulary, with Zipf's law")
    parser.add_argument("--counts", type=Path, help=".npy file of word counts, instead of Zipf's law")
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--compress", action="store_true", help="compress the shards with gzip")
    parser.add_argument("--folder", type=Path, required=True, help="new folder for the text, deleted at the end")
    arguments = parser.parse_args()
    counts = np.load(arguments.counts) if arguments.counts else 1 / (np.arange(arguments.words) + 2.7)
    try:
        size = write_shards(arguments.folder, arguments.tokens, counts, arguments.shards, arguments.compress)
        print(f"{arguments.tokens:,} tokens, {size / 1e6:,.0f} MB of text")
        print("| case | tokens | seconds | tokens/s | CPU seconds | tokens per CPU second | peak MiB |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for case in ("token cache", "epoch without a cache"):
            row = run_in_process(measure, case, str(arguments.folder / "news*"), str(arguments.folder / "cache"))
            if row is not None:
                print(
                    f"| {row['case']} | {row['tokens']:,} | {row['seconds']:.1f} | "
                    f"{row['tokens'] / row['seconds']:,.0f} | {row['cpu']:.1f} | {row['tokens'] / row['cpu']:,.0f} | "
                    f"{row['peak_mib']:,.0f} |",
                    flush=True,
                )
    finally:
        shutil.rmtree(arguments.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
