"""The reports in ``docs/results`` are those that ``lightrnn-report`` generates from the metrics there."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from lightrnn_pl.commands.report import report
from tests.cases import every

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FOLDERS = sorted(path.parent.name for path in RESULTS.glob("*/metrics"))


def test_results_exist():
    assert FOLDERS


@pytest.mark.parametrize("name", every(3, FOLDERS))
def test_committed_reports_match_committed_metrics(name, tmp_path):
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        config = compose("report", [f"runs=[{RESULTS / name / 'metrics'}]", f"output={tmp_path}", f"title={name}"])
    report(config)
    for file in ("report.md", "report.csv"):
        assert (tmp_path / file).read_text(encoding="utf-8") == (RESULTS / name / file).read_text(encoding="utf-8")
    figures = {path.name for path in (tmp_path / "figures").glob("*")}
    assert figures == {path.name for path in (RESULTS / name / "figures").glob("*")}
    # Only runs have figures; Slim Embedding's Table 7 is a measurement of time.
    assert figures or not list((RESULTS / name / "metrics").glob("*/metrics.json"))
