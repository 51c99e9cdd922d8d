"""The perplexity plot of a run."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightrnn_pl.files import atomic_write


def plot_perplexity(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> Path:
    """Plot validation perplexity over training, one line per run, with reallocations marked (as LightRNN, Figure 4).

    Args:
        runs: Name of a run -> its ``history`` as in ``metrics.json``.
        path: The PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    finite = []
    for color, (name, history) in enumerate(runs.items()):
        epochs = [entry["epoch"] for entry in history]
        values = [entry["valid_perplexity"] for entry in history]
        (curve,) = axes.plot(epochs, values, marker="o", markersize=4, label=name, color=f"C{color}")
        finite += [value for value in values if value]
        for before, after in itertools.pairwise(history):
            if before["round"] != after["round"]:
                axes.axvline(before["epoch"], color=curve.get_color(), linestyle=":", linewidth=1)
                axes.annotate(
                    f"reallocation {before['round']}",
                    (before["epoch"], 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, -10),
                    textcoords="offset points",
                    fontsize=8,
                    color=curve.get_color(),
                )
    if finite:
        # The high perplexities of the first epochs would compress the rest of the curve.
        axes.set_ylim(0.9 * min(finite), min(1.05 * max(finite), 4 * min(finite)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epochs")
    axes.set_ylabel("validation perplexity")
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure)
    png = io.BytesIO()
    figure.savefig(png, dpi=150, format="png")
    with atomic_write(path) as file:
        file.write(png.getvalue())
    return Path(path)
