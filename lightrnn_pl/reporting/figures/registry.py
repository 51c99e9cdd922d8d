"""All pictures of a report: each is made where the runs have what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightrnn_pl.reporting.figures.compression import draw_compression
from lightrnn_pl.reporting.figures.frontier import draw_frontier
from lightrnn_pl.reporting.figures.reallocations import draw_moves
from lightrnn_pl.reporting.figures.training_curves import draw_epochs, draw_rounds
from lightrnn_pl.reporting.run_groups import Group


@dataclass(frozen=True)
class Caption:
    """What stands at a picture."""

    title: str
    text: str


CAPTIONS = {
    "epochs": Caption(
        "Perplexity over training",
        "Validation perplexity after each epoch, one line per run. A hollow mark is the end of a round, where "
        "words may move (LightRNN, Figure 4).",
    ),
    "rounds": Caption(
        "Perplexity by round",
        "The best validation perplexity of each round, mean and sample standard deviation over the seeds "
        "(LightRNN, Figure 4).",
    ),
    "compression": Caption(
        "Perplexity over compression",
        "Test perplexity by the size of the shared vectors; dashed: models without sharing (Slim Embedding, Figures 2 "
        "and 4).",
    ),
    "parts": Caption(
        "Perplexity over K",
        "Test perplexity over the number of sub-vectors that make a word's vector, the ratio being the same; dashed: "
        "models without sharing (Slim Embedding, Figures 3 and 5).",
    ),
    "frontier": Caption(
        "Perplexity against parameters",
        "Every model by its size and its test perplexity. The line joins those that no other beats in both; hollow "
        "squares are the paper's own figures, where a run is meant to reproduce them.",
    ),
    "reallocation": Caption(
        "What reallocations did",
        "By round: how the training loss changed by the move, as the loss statistics promised and as was measured with "
        "the new codes fed (losses gathered in training are with dropout, so that less may be measured even where "
        "nothing moved); the words that moved; how far the solver may be from the optimum; what it all took.",
    ),
}
"""Titles and captions, by the names of the pictures."""


def write_pictures(groups: Sequence[Group], folder: str | Path) -> dict[str, Path]:
    """Draw what the groups allow.

    Args:
        groups: Of one report.
        folder: Where ``NAME.png`` and ``NAME.svg`` go.

    Returns:
        Name of each picture (a key of ``CAPTIONS``) -> its PNG; the SVG lies beside it.
    """
    painters: dict[str, Callable[[Sequence[Group], Path], bool]] = {
        "epochs": draw_epochs,
        "rounds": draw_rounds,
        "compression": lambda all_groups, path: draw_compression(all_groups, path, "ratio"),
        "parts": lambda all_groups, path: draw_compression(all_groups, path, "parts"),
        "frontier": draw_frontier,
        "reallocation": draw_moves,
    }
    paths = {name: Path(folder) / f"{name}.png" for name in painters}
    return {name: paths[name] for name, draw in painters.items() if draw(groups, paths[name])}
