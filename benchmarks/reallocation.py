"""Reallocation solvers on the same instances: distance from the optimum, proven gap, time and peak memory.

    python benchmarks/reallocation.py --words 2500 10000 60025 --json outputs/reallocation.json
    python benchmarks/reallocation.py --costs ptb.npz --solvers exact auction alternating greedy
    python benchmarks/reallocation.py --counts word_counts.npy --solvers auction greedy alternating

Synthetic costs resemble real ones: words form clusters, and each occurrence has a loss.  The numbers of occurrences
follow Zipf's law, or are read from ``--counts`` (an .npy file of integers).  Real costs are read from an .npz file with
``row`` (V, R) and ``column`` (V, C).  Solvers run one after the other in separate processes, so that peak memory is
measured for each.  They memory-map the costs; pages that are read count.  Each process solves a small problem first, so
that compilation is not timed.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import (
    AlternatingSolver,
    AuctionSolver,
    ExactSolver,
    GreedySolver,
    KeepSolver,
    MinCostFlowSolver,
    Solver,
)
from lightrnn_pl.allocation.solvers.exact import check_memory, dense_costs
from lightrnn_pl.files import write_json

CHUNK = 8192


class LapxSolver(Solver):
    """Jonker and Volgenant's algorithm of the ``lapx`` package on the dense problem, for comparison."""

    def _assign(self, problem):
        import lap

        check_memory(problem.num_words, problem.num_cells, problem.num_components, 16, None, "lapx")
        _, chosen, _ = lap.lapjv(dense_costs(problem), extend_cost=True)
        codes = problem.codes_of(problem.cells[chosen])
        return codes, problem.cost(codes)


SOLVERS = {
    "keep": lambda threads: KeepSolver(),
    "exact": lambda threads: ExactSolver(),
    "lapx": lambda threads: LapxSolver(),
    "mcmf": lambda threads: MinCostFlowSolver(),
    "auction": lambda threads: AuctionSolver(num_threads=threads),
    "auction 0.5 %": lambda threads: AuctionSolver(gap=5e-3, num_threads=threads),
    "alternating": lambda threads: AlternatingSolver(),
    "alternating 2": lambda threads: AlternatingSolver(max_sweeps=2),
    "greedy": lambda threads: GreedySolver(),
    "greedy regret": lambda threads: GreedySolver("regret"),
    "greedy rows_first": lambda threads: GreedySolver("rows_first"),
}
DENSE = {"exact": 20_000, "lapx": 20_000, "mcmf": 10_000}
"""Maximum number of words for solvers that need dense costs."""


def synthetic_costs(counts, sides, folder, dim=32, seed=0):
    """Write row.npy and column.npy (float32): losses of clustered words, multiplied by their counts."""
    rng = np.random.default_rng(seed)
    num_words = len(counts)
    num_clusters = max(4, int(num_words**0.5 / 3))
    centers = rng.normal(size=(num_clusters, dim)).astype(np.float32)
    for name, side in zip(("row", "column"), sides, strict=True):
        cluster = rng.integers(0, num_clusters, num_words)
        codes = rng.normal(size=(side, dim)).astype(np.float32)
        costs = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (num_words, side))
        for start in range(0, num_words, CHUNK):
            words = slice(start, start + CHUNK)
            vectors = centers[cluster[words]]
            vectors = vectors + 0.7 * rng.normal(size=vectors.shape).astype(np.float32)
            scores = vectors @ codes.T * (2 / dim**0.5)
            log_total = np.log(np.exp(scores).sum(axis=1, keepdims=True))
            costs[words] = (log_total - scores) * counts[words, None]
        costs.flush()


def zipf_counts(num_words):
    """Counts by rank that follow Zipf's law, with about ten tokens per word."""
    return np.maximum(1.0, 9 * num_words / (np.arange(num_words) + 2.7))


def load_problem(folder):
    """The problem with the costs in a folder, and a random allocation with a fixed seed."""
    costs = tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("row", "column"))
    sides = tuple(cost.shape[1] for cost in costs)
    cells = np.random.default_rng(1).permutation(math.prod(sides))[: len(costs[0])]
    return ReallocationProblem(costs, np.stack(np.unravel_index(cells, sides), axis=-1))


def run_solver(name, folder, threads, connection):
    """Solve the problem in a separate process, and send the results back."""
    solver = SOLVERS[name](threads)
    rng = np.random.default_rng(0)
    small = tuple(rng.normal(size=(500, 23)).astype(np.float32) for _ in range(2))
    for cost in small:
        cost.setflags(write=False)  # like memory-mapped files, for which different code is compiled
    solver.solve(ReallocationProblem(small, np.stack(np.divmod(np.arange(500), 23), axis=-1)))
    problem = load_problem(folder)
    before = time.process_time()
    try:
        result = solver.solve(problem)
    except (ValueError, ImportError) as error:
        connection.send({"error": str(error)})
        return
    connection.send(
        {
            "cost": result.cost,
            "lower_bound": result.lower_bound,
            "floor": problem.floor,
            "gap": result.gap,
            "seconds": result.seconds,
            "cpu_seconds": time.process_time() - before,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
    )


def measure(instance, folder, names, threads):
    """The results of each solver on one instance."""
    num_words = len(np.load(folder / "row.npy", mmap_mode="r"))
    rows = []
    for name in names:
        if num_words > DENSE.get(name, num_words):
            continue
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run_solver, args=(name, folder, threads, sender))
        process.start()
        sender.close()
        try:
            result = receiver.recv()
        except EOFError:
            print(f"{name} failed on {instance}", file=sys.stderr)
            continue
        finally:
            process.join()
        if "error" in result:
            print(f"{name} failed on {instance}: {result['error']}", file=sys.stderr)
            continue
        row = {"instance": instance, "words": num_words, "solver": name, "threads": threads, **result}
        rows.append(row)
        print(f"{instance}: {name} {row['cost']:.6g}, gap {row['gap']:.2e}, {row['seconds']:.2f} s", file=sys.stderr)
    return rows


def add_distances(rows):
    """Add the distance of each cost from the best lower bound that any solver proved for the instance.

    This is an upper bound on the distance from the optimum.  It is also given relative to the excess, the part of the
    cost above the floor, because no allocation can have a lower cost than the floor.
    """
    for row in rows:
        bound = max(other["lower_bound"] for other in rows if other["instance"] == row["instance"])
        row["over_bound"] = row["cost"] / bound - 1
        row["excess_over_bound"] = (row["cost"] - bound) / max(bound - row["floor"], 1e-300)
    return rows


def markdown(rows):
    """The results as a Markdown table."""
    columns = ("instance", "words", "solver", "cost over best bound", "share of the excess", "proven gap", "threads")
    columns += ("seconds", "CPU seconds", "peak GiB")
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        cells = (
            *(row["instance"], f"{row['words']:,}", row["solver"], f"{100 * row['over_bound']:.4f} %"),
            *(f"{100 * row['excess_over_bound']:.3f} %", f"{100 * row['gap']:.3f} %", str(row["threads"])),
            *(f"{row['seconds']:.2f}", f"{row['cpu_seconds']:.2f}", f"{row['peak_gib']:.2f}"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows, path):
    """Plot CPU seconds and distance from the best bound by number of words; variants of a solver share a color."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), constrained_layout=True)
    names = list(dict.fromkeys(row["solver"] for row in rows))
    families = list(dict.fromkeys(name.split()[0] for name in names))
    for name in names:
        curve = sorted((row for row in rows if row["solver"] == name), key=lambda row: row["words"])
        words = [row["words"] for row in curve]
        family, *variant = name.split()
        style = {"color": f"C{families.index(family)}", "label": name}
        style |= (
            {"linestyle": "--", "marker": {"regret": "^", "rows_first": "v"}.get(variant[0], "s")} if variant else {}
        )
        style = {"linestyle": "-", "marker": "o", **style}
        left.loglog(words, [max(row["cpu_seconds"], 1e-3) for row in curve], **style)
        right.loglog(words, [max(row["excess_over_bound"], 1e-6) for row in curve], **style)
    left.set(xlabel="words", ylabel="CPU seconds")
    right.set(xlabel="words", ylabel="share of the excess above the best bound (1e-6: optimal)")
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", fontsize=9)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, nargs="*", default=[], help="sizes of synthetic instances")
    parser.add_argument("--costs", type=Path, nargs="*", default=[], help=".npz files with row and column")
    parser.add_argument("--counts", type=Path, help=".npy of occurrences for a synthetic instance of that size")
    parser.add_argument("--solvers", nargs="*", default=["keep", "exact", "auction", "alternating", "greedy"])
    parser.add_argument("--threads", type=int, default=1, help="threads of the auction")
    parser.add_argument("--earlier", type=Path, nargs="*", default=[], help="JSON files of earlier calls to include")
    parser.add_argument("--json", type=Path, help="JSON file to write; a plot is written next to it")
    arguments = parser.parse_args()
    unknown = set(arguments.solvers) - set(SOLVERS)
    if unknown:
        parser.error(f"unknown solvers {sorted(unknown)}; choose from {list(SOLVERS)}")
    rows = [row for path in arguments.earlier for row in json.loads(path.read_text())]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for path in arguments.costs:
            with np.load(path) as costs:
                for name in ("row", "column"):
                    np.save(folder / f"{name}.npy", costs[name])
            rows += measure(path.stem, folder, arguments.solvers, arguments.threads)
        synthetic = [(f"synthetic {num_words}", zipf_counts(num_words)) for num_words in arguments.words]
        if arguments.counts is not None:
            synthetic.append((arguments.counts.stem, np.sort(np.load(arguments.counts))[::-1].astype(np.float32)))
        for instance, counts in synthetic:
            side = math.isqrt(len(counts) - 1) + 1
            synthetic_costs(counts, (math.ceil(len(counts) / side), side), folder)
            rows += measure(instance, folder, arguments.solvers, arguments.threads)
    add_distances(rows)
    print(markdown(rows))
    if arguments.json is not None:
        write_json(arguments.json, rows)
        draw(rows, arguments.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
