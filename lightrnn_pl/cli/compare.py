"""``make run``: LightRNN with reallocations beside the ordinary model of the same hidden size, on the embedded corpus.

Each job is an ordinary ``lightrnn-train``; overrides given here go to both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path


def main() -> None:
    """Train both, print them side by side, say where everything is."""
    overrides = sys.argv[1:]
    if {"-h", "--help"} & set(overrides):
        print(f"{__doc__}\nusage: python -m lightrnn_pl.cli.compare [key=value ...]   (see lightrnn-train --help)")
        return
    folder = Path("outputs") / "compare" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    runs = {}
    for experiment in ("demo/lightrnn", "demo/full"):
        run_dir = folder / experiment.split("/")[-1]
        command = [
            *(sys.executable, "-m", "lightrnn_pl.cli.train"),
            *(f"experiment={experiment}", f"hydra.run.dir={run_dir}", *overrides),
        ]
        print(f"\n$ lightrnn-train {' '.join(command[3:])}\n", flush=True)
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
        runs[metrics["name"]] = metrics

    from lightrnn_pl.evaluation.pictures import plot_perplexity
    from lightrnn_pl.training.console import print_reallocations, print_results

    picture = plot_perplexity({name: run["history"] for name, run in runs.items()}, folder / "perplexity.png")
    print()
    for name, run in runs.items():
        print_reallocations(name, run["rounds"])
    print_results(runs)
    print(f"picture:     {picture}\nrun folders: {', '.join(str(folder / name) for name in ('lightrnn', 'full'))}")
    print(f"try:         .venv/bin/lightrnn-evaluate checkpoint={folder / 'lightrnn' / 'best.ckpt'}")


if __name__ == "__main__":
    main()
