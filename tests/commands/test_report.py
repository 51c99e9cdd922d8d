"""``lightrnn-report``, run in this process."""

import html
import json
import re
import sys

import pytest

from lightrnn_pl.cli.entry_points import report as main
from lightrnn_pl.cli.hydra_arguments import folders_as_overrides
from lightrnn_pl.training.experiment import train
from tests.reporting.folders import make_run, mixture
from tests.training.runs import compose_run


@pytest.fixture
def report(tmp_path, monkeypatch, capsys):
    """Runs the command in this process and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["lightrnn-report", *arguments])
        main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def sweep(tmp_path):
    """Two rows with two seeds each, one job that failed, one that was killed, and a mixture."""
    folder, number = tmp_path / "sweep", 0
    for row, hidden in (("LightRNN", 200), ("HSM", 300)):
        for seed in (0, 1):
            paper = {"table": "lightrnn_table4", "row": row, "scale": "small"}
            make_run(folder / str(number), seed, 100.0 + number, model__hidden_dim=hidden, paper=paper)
            number += 1
    make_run(folder / "4", metrics={"status": "failed", "error": "ValueError: no /home/someone/x"})
    make_run(folder / "10", metrics={"status": "running"})
    (folder / "0" / "kn.json").write_text(json.dumps(mixture("0-0", 90.0)), encoding="utf-8")
    return folder


def test_folders_as_arguments():
    assert folders_as_overrides(["a", "b/c=1", "output=x", "--help"]) == ["runs=['a','b/c=1']", "output=x", "--help"]
    assert folders_as_overrides(["runs=[a]", "--cfg", "job"]) == ["runs=[a]", "--cfg", "job"]
    assert folders_as_overrides(["it's"]) == ["runs=['it\\'s']"]


def test_a_sweep_becomes_a_table(report, sweep):
    printed = report(str(sweep))
    for text in (
        "LightRNN (small)",
        "100.50 ± 0.71",
        "102.50 ± 0.71",
        "90.00",
        "failed",
    ):
        assert text in printed
    assert "6 runs: 4 completed, in 2 groups of seeds; 2 not completed." in printed
    text = (sweep / "report" / "report.md").read_text()
    assert "| LightRNN + Kneser-Ney 5-gram (small) | 1 (0) | 90.00 | 90.00 |" in text
    assert "| KN + LightRNN" not in text and "| KN + HSM | – |" in text and "no x" in text
    assert (sweep / "report" / "report.csv").read_text().count("\n") == 5
    page = (sweep / "report" / "report.html").read_text()
    assert "100.50 ± 0.71" in page and "<svg" in page
    for figure in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (sweep / "report" / figure).stat().st_size > 1000
    assert "![Perplexity over training](figures/epochs.png)" in text


def test_saved_results_reproduce_the_report(report, sweep, tmp_path):
    printed = report(str(sweep), "output=first", "keep=kept")
    (saved,) = (tmp_path / "kept").glob("0/kn.json")
    assert "someone" not in saved.read_text()
    assert report("runs=kept", "output=second").replace("second", "first") == printed
    for name in ("report.md", "report.csv", "report.html"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_order_of_the_folders_does_not_matter(report, sweep, tmp_path):
    report(str(sweep / "3"), str(sweep / "0"), str(sweep / "1"), "output=first")
    report(str(sweep / "0"), str(sweep / "1"), str(sweep / "3"), "output=second")
    assert (tmp_path / "first" / "report.md").read_text() == (tmp_path / "second" / "report.md").read_text()


def test_repeated_runs_are_skipped_and_listed(report, tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    assert "Skipped duplicates (same configuration and seeds): b." in report("a", "b", "output=out")


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["a"], "Report: a, seed 3"),
        (["a", "b"], "Report: a, b"),
        (["a", "a"], "Report: a"),
        (["e", "d", "c", "b", "a"], "Report: e, d, c and 2 more"),
    ],
)
def test_the_title_names_the_runs(names, title, report, tmp_path):
    for number, name in enumerate(names):
        make_run(tmp_path / "sweep" / str(number), 3 + number, metrics={"name": name})
    report("sweep", "output=out")
    assert (tmp_path / "out" / "report.md").read_text().startswith(f"# {title}\n")
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"<title>{title}</title>" in page and f"<h1>{title}</h1>" in page
    report("sweep", "output=out", "title=mine")
    assert (tmp_path / "out" / "report.md").read_text().startswith("# mine\n")


def test_the_page_shows_the_commands_of_the_markdown(report, tmp_path):
    make_run(tmp_path / "0", metrics={"overrides": ["seed=0", "model=slim", "data.train=a b.txt"]})
    report("0", "output=out")
    command = "lightrnn-train model=slim 'data.train=a b.txt'"
    assert f"| {command} |" in (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert f">{html.escape(command)}</td>" in page and '<a href="#commands">' in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "folder nowhere does not exist"),
        (["empty"], "no runs found in empty"),
        (["runs=[]"], "no run folders given"),
        ([], "no run folders given; pass them as arguments: lightrnn-report FOLDER ..."),
    ],
)
def test_errors_are_one_line(arguments, message, report, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stopped:
        report(*arguments)
    errors = capsys.readouterr().err
    assert stopped.value.code == 2 and message in errors and "Traceback" not in errors


def test_a_real_run(report, tiny_text, tmp_path):
    metrics = train(compose_run(tmp_path / "run", tiny_text, "trainer.max_steps=2"))
    printed = report("run", "keep=kept", "output=out")
    assert f"({metrics['tokens']['train']:,} tokens, vocabulary of {metrics['vocabulary']} words)." in printed
    assert f"{metrics['parameters']:,}" in printed and "1 run: 1 completed, in 1 group of seeds." in printed
    assert f"{metrics['test']['perplexity']:,.2f}" in (tmp_path / "out" / "report.md").read_text()
    assert str(tmp_path) not in (tmp_path / "kept" / "run" / "config.yaml").read_text()
