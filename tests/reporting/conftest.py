"""Fixtures for browser tests of the report page."""

import pytest

from lightrnn_pl.reporting.figures import write_figures
from lightrnn_pl.reporting.page_writer import write_page
from lightrnn_pl.reporting.run_groups import group_runs
from lightrnn_pl.reporting.runs import find_runs
from lightrnn_pl.reporting.tables import Table
from tests.browsers import chromium
from tests.reporting.browser_pages import open_report
from tests.reporting.folders import make_run
from tests.reporting.maps import make_run_with_tables, tables_of
from tests.serving.models import SCRIPT, tiny_bundle

RESULTS = Table(
    "Results",
    ("", "seeds", "test perplexity", "paper: perplexity"),
    [("NE", "0", "1,102.50 ± 2.00", "88.3"), (f"{SCRIPT} (small)", "0", "97.5", "–"), ("SE 5K", "–", "–", "90.1")],
    notes=["a <note>"],
)
FAILURES = Table("Not completed", ("folder", "error"), [("3", "ValueError: <b>no</b>")], texts=2)


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright.sync_api", reason="requires Playwright (pip install playwright)")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def bundle():
    return tiny_bundle()


@pytest.fixture(scope="session")
def rounds(bundle):
    """The word tables of three rounds, as in the report."""
    return tables_of(len(bundle.vocabulary), bundle.model.allocation.sides, bundle.model.allocation)


@pytest.fixture(scope="session")
def results():
    return RESULTS


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The report page of two runs: one with the word tables of three rounds, one with its final table only."""
    folder = tmp_path_factory.mktemp("report")
    make_run_with_tables(folder / "runs" / "a", 0, 100.0)
    make_run_with_tables(folder / "runs" / "b", 0, 90.0, kept=False, model__hidden_dim=300)
    groups = group_runs(find_runs([folder / "runs"]))
    plots = write_figures(groups, folder / "figures")
    return write_page(folder / "report.html", groups, plots, [RESULTS], [FAILURES], "All <runs>", ["2 runs & more"])


@pytest.fixture(scope="session")
def plots(tmp_path_factory):
    """All figures that a report can have."""
    folder = tmp_path_factory.mktemp("plots")
    make_run_with_tables(folder / "runs" / "a", 0, 100.0)
    for number, (ratio, parts) in enumerate(((2, 8), (4, 8), (4, 4), (1, 8))):
        shared = {"num_parts": parts, "compression": 1 / ratio, "num_subvectors": None}
        layers = {layer: f"lightrnn_pl.nn.{layer}s.Slim{layer.title()}" for layer in ("embedding", "output")}
        model = {layer: {"_target_": target, **shared} for layer, target in layers.items()}
        metrics = {"name": "slim", "parameters": 1000 * number + 1000}
        make_run(folder / "runs" / str(number), 0, 90.0 + number, metrics, name="slim", model=model)
    return write_figures(group_runs(find_runs([folder / "runs"])), folder / "figures")


@pytest.fixture
def page(browser, report):
    page = open_report(browser, report, viewport={"width": 1280, "height": 900})
    yield page
    assert page.problems == []
    page.context.close()
