"""The perplexity plot of a run, in the style of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightrnn_pl.plotting.perplexity_curves import PerplexityCurve, draw_perplexity
from lightrnn_pl.plotting.style import new_figure, series_color


def plot_perplexity(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> Path:
    """Plot validation perplexity over training, one line per run, with ends of rounds marked (as LightRNN, Figure 4).

    Args:
        runs: Name of a run -> its ``history`` as in ``metrics.json``.
        path: The PNG file to write.
    """
    path = Path(path)
    curves = [
        PerplexityCurve(name, history, series_color(number), number, label=name)
        for number, (name, history) in enumerate(runs.items())
    ]
    with new_figure(path, suffixes=[path.suffix]) as figure:
        draw_perplexity(figure, curves)
    return path
