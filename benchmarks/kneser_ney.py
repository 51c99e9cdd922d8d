"""Our Kneser-Ney estimator beside lmplz: perplexity of the same tokens, seconds and peak memory.

    python benchmarks/kneser_ney.py --lmplz PATH --json outputs/kneser_ney.json \\
        ptb=../shared/data/ptb wikitext2=../shared/data/wikitext2

A corpus is NAME=FOLDER with ``train.txt`` and ``test.txt``, one tokenised sentence a line.  Its vocabulary is all words
of train.  Every case runs in a process of its own.  ``estimate`` is from ids in memory to a model that can be asked:
for lmplz that is writing its text, running it, and reading its ARPA file; ``lmplz`` alone is the program.  Both get one
thread here, but lmplz has threads of its own.  Peak memory is what the process takes above the text and the imports,
for lmplz that of the program, which takes most of it as buffers whatever the size of the text.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from pathlib import Path
from typing import Any

from measuring import in_process, peak_mib


def run(estimator: str, folder: Path, order: int, lmplz: str | None) -> dict[str, Any]:
    """Figures of one estimator on one corpus."""
    import subprocess

    import numpy as np

    from lightrnn_pl.data.datamodule import CorpusDataModule
    from lightrnn_pl.ngrams.kneser_ney import estimate_kneser_ney
    from lightrnn_pl.ngrams.members import NgramMember, run_lmplz

    data = CorpusDataModule.from_text(str(folder / "train.txt"), test=str(folder / "test.txt"), cache=False)
    data.setup()
    vocabulary = data.vocabulary
    tokens, test = (data.loader_for(vocabulary, split).tokens for split in ("train", "test"))
    in_program = [0.0]
    before, started = peak_mib(), time.perf_counter()
    if estimator == "own":
        model, _ = estimate_kneser_ney(tokens, len(vocabulary), vocabulary.end_id, order=order)
        seconds = time.perf_counter() - started
        member, peak = NgramMember(model, vocabulary, estimator), peak_mib() - before
    else:
        original = subprocess.run

        def timed(*arguments: Any, **keywords: Any) -> Any:
            at = time.perf_counter()
            done = original(*arguments, **keywords)
            in_program[0] += time.perf_counter() - at
            return done

        subprocess.run = timed
        model = run_lmplz(str(lmplz), tokens, vocabulary, order)
        seconds = time.perf_counter() - started
        member = NgramMember(model, vocabulary, estimator, [str(number) for number in range(len(vocabulary))])
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    at = time.perf_counter()
    logs = member.log_probabilities(test)
    return {
        "estimator": estimator,
        "tokens": len(tokens),
        "vocabulary": len(vocabulary),
        "order": order,
        "ngrams": model.num_ngrams,
        "perplexity": math.exp(-float(np.mean(logs))),
        "seconds": seconds,
        "program_seconds": in_program[0] or None,
        "scoring_seconds": time.perf_counter() - at,
        "test_tokens": len(test),
        "peak_mib": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", help="NAME=FOLDER with train.txt and test.txt")
    parser.add_argument("--lmplz", help="the program; without it only ours is measured")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| corpus | tokens | estimator | test perplexity | estimate s | lmplz alone s | score s | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for corpus in arguments.corpora:
        name, _, folder = corpus.partition("=")
        for estimator in ("own", *(["lmplz"] if arguments.lmplz else [])):
            row = in_process(run, estimator, Path(folder), arguments.order, arguments.lmplz)
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
