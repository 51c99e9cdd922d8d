"""Kneser-Ney estimation compared with lmplz: perplexity on the same tokens, time and peak memory.

    python benchmarks/kneser_ney.py --lmplz PATH --json outputs/kneser_ney.json \\
        ptb=../shared/data/ptb wikitext2=../shared/data/wikitext2

A corpus is NAME=FOLDER with ``train.txt`` and ``test.txt``, one tokenized sentence per line.  The vocabulary contains
all words of the training text.  Each case runs in a separate process.

``estimate`` is the time from ids in memory to a model that can be queried.  For lmplz, this includes writing the text,
running the program, and reading its ARPA file; ``lmplz alone`` is the time of the program.  Both use one thread, but
lmplz starts additional threads of its own.  Peak memory is the increase over the text and the imports.  For lmplz, it
is that of the program, most of which is buffers whose size does not depend on the text.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from pathlib import Path
from typing import Any

from harness import peak_mib, run_in_process


def run(estimator: str, folder: Path, order: int, lmplz: str | None) -> dict[str, Any]:
    """The results of one estimator on one corpus."""
    import subprocess

    import numpy as np

    from lightrnn_pl.data.datamodule import CorpusDataModule
    from lightrnn_pl.ngrams.kneser_ney import estimate_kneser_ney
    from lightrnn_pl.ngrams.members import NgramMember, run_lmplz

    data = CorpusDataModule.from_text(train=str(folder / "train.txt"), test=str(folder / "test.txt"), cache=False)
    data.setup()
    vocabulary = data.vocabulary
    tokens, test = (data.loader_for(vocabulary, split).tokens for split in ("train", "test"))
    program_seconds = [0.0]
    before, started = peak_mib(), time.perf_counter()
    if estimator == "own":
        model, _ = estimate_kneser_ney(tokens, len(vocabulary), vocabulary.end_id, order=order)
        seconds = time.perf_counter() - started
        member, peak = NgramMember(model, vocabulary, estimator), peak_mib() - before
    else:
        original = subprocess.run

        def timed(*arguments: Any, **keywords: Any) -> Any:
            program_started = time.perf_counter()
            done = original(*arguments, **keywords)
            program_seconds[0] += time.perf_counter() - program_started
            return done

        subprocess.run = timed
        model = run_lmplz(str(lmplz), tokens, vocabulary, order)
        seconds = time.perf_counter() - started
        member = NgramMember(model, vocabulary, estimator, [str(number) for number in range(len(vocabulary))])
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    scoring_started = time.perf_counter()
    log_probabilities = member.log_probabilities(test)
    return {
        "estimator": estimator,
        "tokens": len(tokens),
        "vocabulary": len(vocabulary),
        "order": order,
        "ngrams": model.num_ngrams,
        "perplexity": math.exp(-float(np.mean(log_probabilities))),
        "seconds": seconds,
        "program_seconds": program_seconds[0] or None,
        "scoring_seconds": time.perf_counter() - scoring_started,
        "test_tokens": len(test),
        "peak_mib": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", help="NAME=FOLDER with train.txt and test.txt")
    parser.add_argument("--lmplz", help="path of the program; omit to measure only this package's estimator")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| corpus | tokens | estimator | test perplexity | estimate s | lmplz alone s | score s | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for corpus in arguments.corpora:
        name, _, folder = corpus.partition("=")
        for estimator in ("own", *(["lmplz"] if arguments.lmplz else [])):
            row = run_in_process(run, estimator, Path(folder), arguments.order, arguments.lmplz)
            if row is None:
                continue
            rows.append({"corpus": name, **row})
            program = "" if row["program_seconds"] is None else f"{row['program_seconds']:.1f}"
            print(
                f"| {name} | {row['tokens']:,} | {estimator} | {row['perplexity']:.3f} | {row['seconds']:.1f} | "
                f"{program} | {row['scoring_seconds']:.2f} | {row['peak_mib']:,.0f} |",
                flush=True,
            )
    if arguments.json is not None:
        from lightrnn_pl.files import write_json

        write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
