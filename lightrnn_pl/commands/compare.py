"""``make run``: compare LightRNN with a full softmax of the same hidden size, on the built-in corpus.

Both models are trained by ``lightrnn-train``; overrides are passed to both.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

from lightrnn_pl.run_folder import RunFolder


def compare() -> None:
    """Train both models, and print their results and paths."""
    overrides = sys.argv[1:]
    if {"-h", "--help"} & set(overrides):
        print("Train LightRNN and the full softmax of the same size on the built-in corpus.\n")
        print("usage: lightrnn-compare [key=value ...]")
        print("The overrides are passed to both models; lightrnn-train --help describes them.")
        return
    folder = Path("outputs") / "compare" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    runs = {}
    for experiment in ("demo/lightrnn", "demo/full"):
        run_dir = folder / experiment.split("/")[-1]
        command = [
            str(Path(sys.executable).with_name("lightrnn-train")),
            *(f"experiment={experiment}", f"hydra.run.dir={run_dir}", *overrides),
        ]
        print(f"\n$ lightrnn-train {' '.join(command[1:])}\n", flush=True)
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        metrics = RunFolder(run_dir).read_metrics()
        runs[metrics["name"]] = metrics

    from lightrnn_pl.training.tracking.console import print_reallocations, print_results
    from lightrnn_pl.training.tracking.perplexity_plot import plot_perplexity

    plot = plot_perplexity({name: run["history"] for name, run in runs.items()}, RunFolder(folder).perplexity_plot)
    print()
    for name, run in runs.items():
        print_reallocations(name, run["rounds"])
    print_results(runs)
    print(f"plot:        {plot}\nrun folders: {folder / 'lightrnn'}\n             {folder / 'full'}")
    print(f"try:         .venv/bin/lightrnn-evaluate checkpoint={RunFolder(folder / 'lightrnn').best}")
