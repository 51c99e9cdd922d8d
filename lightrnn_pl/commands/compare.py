"""``make run``: LightRNN with reallocations beside the ordinary model of the same hidden size, on the embedded corpus.

Each job is an ordinary ``lightrnn-train``; overrides given here go to both.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

from lightrnn_pl.run_folder import RunFolder


def compare() -> None:
    """Train both, print them side by side, and print where everything is."""
    overrides = sys.argv[1:]
    if {"-h", "--help"} & set(overrides):
        print(f"{__doc__}\nusage: lightrnn-compare [key=value ...]   (see lightrnn-train --help)")
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

    picture = plot_perplexity({name: run["history"] for name, run in runs.items()}, RunFolder(folder).perplexity_plot)
    print()
    for name, run in runs.items():
        print_reallocations(name, run["rounds"])
    print_results(runs)
    print(f"picture:     {picture}\nrun folders: {', '.join(str(folder / name) for name in ('lightrnn', 'full'))}")
    print(f"try:         .venv/bin/lightrnn-evaluate checkpoint={RunFolder(folder / 'lightrnn').best}")
