"""All figures of a report; each is drawn only if the runs have the data for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightrnn_pl.reporting.figures.compression import draw_compression
from lightrnn_pl.reporting.figures.frontier import draw_frontier
from lightrnn_pl.reporting.figures.reallocations import draw_reallocations
from lightrnn_pl.reporting.figures.training_curves import draw_epochs, draw_rounds
from lightrnn_pl.reporting.run_groups import Group


@dataclass(frozen=True)
class Caption:
    """Title and caption of a figure."""

    title: str
    text: str


CAPTIONS = {
    "epochs": Caption(
        "Perplexity over training",
        "Validation perplexity after each epoch, one line per run. If a run has several rounds, hollow markers "
        "indicate their ends, after which words may be reallocated (LightRNN, Figure 4).",
    ),
    "rounds": Caption(
        "Perplexity by round",
        "Best validation perplexity of each round: mean and sample standard deviation over the seeds (LightRNN, "
        "Figure 4).",
    ),
    "compression": Caption(
        "Perplexity by compression",
        "Test perplexity by the size of the shared vectors. Dashed lines are models without sharing (Slim Embedding, "
        "Figures 2 and 4).",
    ),
    "parts": Caption(
        "Perplexity by K",
        "Test perplexity by the number of sub-vectors per word, K, at the same compression. Dashed lines are models "
        "without sharing (Slim Embedding, Figures 3 and 5).",
    ),
    "frontier": Caption(
        "Perplexity by parameters",
        "Test perplexity of each model by its number of parameters. The line is the Pareto frontier. Models can differ "
        "in their number of epochs, which is in the tables. Hollow squares, if any, are the paper's values for models "
        "that were trained in the scale of the paper.",
    ),
    "reallocation": Caption(
        "Reallocations",
        "By round: the change of the training loss, as predicted by the loss statistics and as measured with the new "
        "codes as inputs; the reallocated words; the optimality gap of the solver; and the time. Statistics collected "
        "during training include dropout, so the measured loss may be lower even if no word was reallocated.",
    ),
}
"""Name of a figure -> its title and caption."""


def write_figures(groups: Sequence[Group], folder: str | Path) -> dict[str, Path]:
    """Draw all figures for which the groups have data.

    Args:
        groups: The groups of a report.
        folder: The folder for ``NAME.png`` and ``NAME.svg``.

    Returns:
        Name of a figure (a key of ``CAPTIONS``) -> its PNG file.
    """
    functions: dict[str, Callable[[Sequence[Group], Path], bool]] = {
        "epochs": draw_epochs,
        "rounds": draw_rounds,
        "compression": lambda all_groups, path: draw_compression(all_groups, path, "ratio"),
        "parts": lambda all_groups, path: draw_compression(all_groups, path, "parts"),
        "frontier": draw_frontier,
        "reallocation": draw_reallocations,
    }
    paths = {name: Path(folder) / f"{name}.png" for name in functions}
    return {name: paths[name] for name, draw in functions.items() if draw(groups, paths[name])}
