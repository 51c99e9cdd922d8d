"""The perplexity plot of a run."""

import pytest

from lightrnn_pl.reporting.figures import write_figures
from lightrnn_pl.reporting.run_groups import group_runs
from lightrnn_pl.reporting.runs import find_runs
from lightrnn_pl.training.tracking.perplexity_plot import plot_perplexity
from tests.reporting.folders import make_run

HISTORY = [
    {"epoch": epoch, "round": number, "valid_perplexity": perplexity, "seconds": 1.0}
    for epoch, number, perplexity in ((1.0, 1, 900.0), (2.0, 1, 150.0), (3.0, 2, None), (4.0, 2, 120.0))
]


def test_the_plot_of_a_run_equals_the_figure_of_the_report(tmp_path):
    make_run(tmp_path / "run", metrics={"history": HISTORY})
    figures = write_figures(group_runs(find_runs([tmp_path / "run"])), tmp_path / "figures")
    plot = plot_perplexity({"lightrnn-ptb": HISTORY}, tmp_path / "perplexity.png")
    assert plot.read_bytes() == figures["epochs"].read_bytes()
    other = plot_perplexity({"lightrnn-ptb": HISTORY[:2]}, tmp_path / "other.png")
    assert other.read_bytes() != plot.read_bytes()


@pytest.mark.parametrize("history", [[], HISTORY[2:3]])
def test_a_run_without_a_finite_perplexity_has_an_empty_plot(history, tmp_path):
    plot = plot_perplexity({"run": history}, tmp_path / "perplexity.png")
    assert plot.read_bytes().startswith(b"\x89PNG") and [path.name for path in tmp_path.iterdir()] == [plot.name]
