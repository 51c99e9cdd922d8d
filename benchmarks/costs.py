"""Writes the reallocation problem of a trained LightRNN to a file, for ``reallocation.py --costs``.

    python benchmarks/costs.py outputs/NAME/DATE ptb.npz

The costs are collected in one pass over the model's training text, without dropout.  The file contains ``row`` (V, R)
and ``column`` (V, C), float32, and ``codes`` (V, 2).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from lightrnn_pl.building import instantiate
from lightrnn_pl.checkpoint import load
from lightrnn_pl.training.reallocation.gather_statistics import gather_statistics


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="run folder or best.ckpt of a two-component model")
    parser.add_argument("costs", type=Path, help=".npz file to write")
    arguments = parser.parse_args()
    bundle = load(arguments.checkpoint)
    data = instantiate(bundle.config.data)
    started = time.perf_counter()
    statistics = gather_statistics(bundle.model, data.loader_for(bundle.vocabulary, "train"), torch.device("cpu"))
    problem = statistics.problem()
    row, column = problem.costs
    np.savez(arguments.costs, row=row, column=column, codes=problem.codes)
    print(f"{problem.num_words:,} words, {statistics.count:,} tokens, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
