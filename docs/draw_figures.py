"""Draws the figures of the README and of the pages on concepts, for light and for dark pages.

python docs/draw_figures.py                    # from the JSON files of docs/figures, and docs/results
python docs/draw_figures.py --run RUN          # and the word table of a run of experiment=demo/lightrnn
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightrnn_pl.checkpoint import load
from lightrnn_pl.files import atomic_write
from lightrnn_pl.plotting.style import FAINT, INK, LINE, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parent
FIGURES = DOCS / "figures"
_RUNS = DOCS / "results" / "lightrnn_figure4-ptb" / "metrics"
_DARK = {INK: "#e8e8e4", FAINT: "#a0a4ad", LINE: "#34373f"} | dict(
    zip(SERIES, ("#8fadff", "#f0955f", "#5fc797", "#c39af0", "#5cc5d3", "#f07fb0", "#cfae70", "#a7aebb"), strict=True)
)


@contextmanager
def themed_figure(name: str, width: float, height: float) -> Iterator[Figure]:
    """A figure in the style of the reports; on exit, it is written to ``NAME-light.svg`` and ``NAME-dark.svg``."""
    path = FIGURES / f"{name}.svg"
    with new_figure(path, width, height, suffixes=[path.suffix]) as figure:
        yield figure
    svg = path.read_text(encoding="utf-8").replace("var(--sans, sans-serif)", "sans-serif")
    path.unlink()
    for theme, colors in (("light", {}), ("dark", _DARK)):
        text = re.sub(r"var\(--[\w-]+, (#\w+)\)", lambda match, c=colors: c.get(match[1], match[1]), svg)
        with atomic_write(FIGURES / f"{name}-{theme}.svg", "w") as file:
            file.write(text)


def draw_frontier() -> None:
    """Test perplexity on Penn Treebank by number of parameters; published results are marked."""
    data = json.loads((FIGURES / "frontier.json").read_text(encoding="utf-8"))
    with themed_figure("frontier", 7.2, 4.2) as figure:
        axes = figure.add_subplot()
        for name, color, marker in (("measured", SERIES[0], "o"), ("published", SERIES[1], "s")):
            models = data[name]["models"]
            sizes, means = zip(*((model["parameters"], np.mean(model["test"])) for model in models), strict=True)
            label = {"measured": "this project, 1 x 200, six epochs, mean of two seeds"}.get(name)
            label = label or "Slim Embedding paper, 25 epochs and more"
            axes.plot(sizes, means, marker, color=color, label=label, fillstyle="full" if marker == "o" else "none")
            for model, mean in zip(models, means, strict=True):
                offset = model.get("offset", (6, 0))
                axes.annotate(
                    f"{model['label']}  {mean:.1f}",
                    (model["parameters"], mean),
                    xytext=offset,
                    textcoords="offset points",
                    ha="left" if offset[0] > 0 else "right",
                    va="center",
                    fontsize=8,
                    color=INK,
                )
        axes.set_xscale("log")
        axes.set(xlim=(3e5, 8e7), xlabel="parameters", ylabel="test perplexity, Penn Treebank")
        axes.set_xticks([5e5, 1e6, 2e6, 5e6, 1e7, 2e7], ["0.5 M", "1 M", "2 M", "5 M", "10 M", "20 M"])
        axes.minorticks_off()
        axes.legend(loc="upper right")


def draw_keyboard_frontier() -> None:
    """Test perplexity and top-3 accuracy of models and n-grams on WikiText-2 by their bytes."""
    families = json.loads((FIGURES / "keyboard.json").read_text(encoding="utf-8"))["families"]
    titles = {"perplexity": "test perplexity", "top3": "top-3 accuracy, %"}
    with themed_figure("keyboard", 7.2, 3.6) as figure:
        panels = figure.subplots(1, 2)
        for axes, (key, title) in zip(panels, titles.items(), strict=True):
            for (label, family), color, marker in zip(families.items(), SERIES, "osD^v", strict=False):
                axes.plot(family["bytes"], family[key], "-", marker=marker, color=color, label=label)
            axes.set_xscale("log")
            axes.set(xlabel="bytes, with the words", ylabel=title)
            axes.set_xticks([1e6, 3e6, 1e7, 3e7], ["1 M", "3 M", "10 M", "30 M"])
            axes.minorticks_off()
        panels[1].legend(loc="center right")


def _metrics(name: str) -> dict[str, Any]:
    return json.loads((_RUNS / name / "metrics.json").read_text(encoding="utf-8"))


def draw_reallocation_losses() -> None:
    """Training loss before each reallocation, predicted, and measured, by axis."""
    entries = _metrics("lightrnn-figure4-seed0")["rounds"]
    rounds = [entry["reallocation"] for entry in entries if "reallocation" in entry]
    with themed_figure("reallocation-losses", 7.2, 3.4) as figure:
        axes = figure.add_subplot()
        for number, name in enumerate(("before", "predicted", "measured")):
            positions = np.arange(len(rounds)) + (number - 1) * 0.27
            row, column = np.array([entry[f"nll_{name}_by_axis"] for entry in rounds]).T
            axes.bar(positions, row, 0.24, color=SERIES[0])
            axes.bar(positions, column, 0.24, bottom=row, color=SERIES[1])
            for position, total in zip(positions, row + column, strict=True):
                axes.annotate(f"{name}\n{total:.2f}", (position, total), ha="center", va="bottom", fontsize=8)
        axes.bar(0, 0, color=SERIES[1], label="column, given the row")
        axes.bar(0, 0, color=SERIES[0], label="row")
        axes.set_xticks(range(len(rounds)), [f"reallocation {number}" for number in range(1, len(rounds) + 1)])
        axes.set(ylabel="nats per word, training text", ylim=(0, 11))
        axes.grid(False, axis="x")
        axes.legend(loc="upper right")


def draw_reallocation_rounds() -> None:
    """Validation perplexity by epoch, with reallocations and without."""
    runs = (("reallocation after every fourth epoch", "lightrnn-figure4-seed0", SERIES[0], "-"),)
    runs += (("control, no reallocation", "lightrnn-figure4-control-seed0", SERIES[1], "--"),)
    with themed_figure("reallocation-rounds", 7.2, 3.4) as figure:
        axes = figure.add_subplot()
        for label, name, color, style in runs:
            history = _metrics(name)["history"]
            epochs, perplexities = zip(*((entry["epoch"], entry["valid_perplexity"]) for entry in history), strict=True)
            axes.plot(epochs, perplexities, style, marker="o", color=color, label=label)
        for epoch in (4, 8, 12):
            axes.axvline(epoch + 0.5, color=FAINT, linestyle=":", linewidth=1)
        axes.set(xlabel="epoch", ylabel="validation perplexity", ylim=(195, 440))
        axes.set_xticks(range(2, 17, 2))
        axes.legend(loc="upper right")


def draw_word_table(run: Path) -> None:
    """The cells of frequent words in six rows and six columns of a trained LightRNN."""
    bundle = load(run)
    codes, words = bundle.model.allocation.codes.numpy(), bundle.vocabulary.words
    table = np.full(bundle.model.allocation.sides, "", dtype=object)
    scores = np.zeros(table.shape)
    table[codes[:, 0], codes[:, 1]] = words
    # Only words of letters that fit into a cell.
    scores[codes[:, 0], codes[:, 1]] = [
        np.log1p(count) * (word.isalpha() and len(word) <= 10)
        for word, count in zip(words, bundle.vocabulary.counts, strict=True)
    ]
    rows = np.argsort(-np.sort(scores, axis=1)[:, -6:].sum(axis=1))[:6]
    for _ in range(10):
        columns = np.argsort(-scores[rows].sum(axis=0))[:6]
        rows = np.argsort(-scores[:, columns].sum(axis=1))[:6]
    rows, columns = np.sort(rows), np.sort(columns)
    with themed_figure("word-table", 7.2, 2.5) as figure:
        axes = figure.add_subplot()
        axes.set(xlim=(-0.5, 5.5), ylim=(5.5, -0.5))
        axes.set_xticks(range(6), [f"column {column}" for column in columns])
        axes.set_yticks(range(6), [f"row {row}" for row in rows])
        axes.xaxis.tick_top()
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for edge in np.arange(-0.5, 6):
            axes.axhline(edge, color=LINE, linewidth=1)
            axes.axvline(edge, color=LINE, linewidth=1)
        for y, row in enumerate(rows):
            for x, column in enumerate(columns):
                axes.text(x, y, table[row, column], ha="center", va="center")


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run folder of lightrnn-train experiment=demo/lightrnn")
    run = parser.parse_args().run
    draw_frontier()
    draw_keyboard_frontier()
    draw_reallocation_losses()
    draw_reallocation_rounds()
    if run is not None:
        draw_word_table(run)


if __name__ == "__main__":
    main()
