"""Pictures of one run."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightrnn_pl.files import atomic_write


def plot_perplexity(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> Path:
    """Validation perplexity over training, one line per run, reallocations marked (after LightRNN, Figure 4).

    Args:
        runs: Name of a run -> its ``history`` as ``metrics.json`` keeps it.
        path: The PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    shown = []
    for color, (name, history) in enumerate(runs.items()):
        epochs = [line["epoch"] for line in history]
        values = [line["valid_perplexity"] for line in history]
        (curve,) = axes.plot(epochs, values, marker="o", markersize=4, label=name, color=f"C{color}")
        shown += [value for value in values if value]
        for before, after in itertools.pairwise(history):
            if before["round"] != after["round"]:
                axes.axvline(before["epoch"], color=curve.get_color(), linestyle=":", linewidth=1)
                axes.annotate(
                    f"move {before['round']}",
                    (before["epoch"], 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, -10),
                    textcoords="offset points",
                    fontsize=8,
                    color=curve.get_color(),
                )
    if shown:
        # The first epochs of a run are far above the rest and would flatten it.
        axes.set_ylim(0.9 * min(shown), min(1.05 * max(shown), 4 * min(shown)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epochs")
    axes.set_ylabel("validation perplexity")
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=150, format="png")
    with atomic_write(path) as file:
        file.write(drawn.getvalue())
    return Path(path)
