"""The scripts for the papers' tables and the W&B sweeps: they use existing experiments and pass on their arguments."""

import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module

from lightrnn_pl.reporting.paper_tables import paper_tables
from tests.experiment_rows import OF_PAPERS

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("multirun_scripts/[a-z]*.sh"))
SWEEPS = sorted(ROOT.glob("multirun_scripts/wandb/*.yaml"))


def run(script: Path, folder: Path, *arguments: str, trains: int = 0, evaluates: int = 0) -> tuple[int, list[str]]:
    """Exit status of a script and the commands it calls, which are only recorded.

    Training exits with ``trains``, and evaluation with ``evaluates``.
    """
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for command in ("python", *(f"lightrnn-{name}" for name in ("train", "report", "evaluate", "table", "rescore"))):
        status = {"lightrnn-train": trains, "lightrnn-evaluate": evaluates}.get(command, 0)
        (commands / command).write_text(f'#!/bin/sh\necho "{command} $*" >> "{folder}/calls"\nexit {status}\n')
        (commands / command).chmod(0o755)
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(script), *arguments], cwd=folder, env=environment, timeout=60, check=False)
    return done.returncode, (folder / "calls").read_text().splitlines()


def swept_rows(calls: list[str]) -> set[tuple[str, ...]]:
    """The rows that recorded calls train, as in ``OF_PAPERS``: the experiment and the override that selects the row."""
    rows = set()
    for call in calls:
        # A later override of a key replaces an earlier one.
        arguments = dict(argument.split("=", 1) for argument in call.split() if "=" in argument)
        jobs = [
            [f"{key}={value}" for value in arguments[key].split(",")]
            for key in ("experiment", "paper.model", "paper.table", "data.language")
            if call.startswith("lightrnn-train ") and key in arguments
        ]
        rows |= set(itertools.product(*jobs)) if jobs else set()
    return rows


def test_every_table_and_figure_has_a_script_and_every_row_is_in_one(tmp_path):
    figures = {"lightrnn_figure4", "lightrnn_figure5", "slim_figure4"}
    assert {script.stem for script in SCRIPTS} == set(paper_tables()) | figures
    trained = set()
    for script in SCRIPTS:
        (tmp_path / script.stem).mkdir()
        # The first four arguments of Table 6 are files.
        files = [str(script)] * 4 if script.stem == "slim_table6" else []
        status, calls = run(script, tmp_path / script.stem, *files)
        assert status == 0
        rows = swept_rows(calls)
        tables = {f"paper.table={script.stem}", f"experiment={script.stem.replace('_', '/')}"}
        assert not rows or any(override.startswith(tuple(tables)) for row in rows for override in row)
        trained |= rows
    # The output layers of Table 7 are timed without training.
    assert trained == {row for row in OF_PAPERS if row[0] != "experiment=slim/table7"}


@pytest.mark.parametrize(
    ("arguments", "languages", "expected"),
    [
        ((), None, "es,fr,en,cs,de,ru"),
        (("data=aclw", "data.root=folder"), "cs,fr", "cs,fr"),
        (("scale=small", "data=ptb"), "cs,fr", None),
    ],
)
def test_languages_are_those_of_aclw(arguments, languages, expected, tmp_path, monkeypatch):
    monkeypatch.delenv("LANGUAGES", raising=False)
    if languages is not None:
        monkeypatch.setenv("LANGUAGES", languages)
    for table in ("lightrnn_table5", "slim_table4"):
        (tmp_path / table).mkdir()
        _, (*sweeps, _) = run(ROOT / "multirun_scripts" / f"{table}.sh", tmp_path / table, *arguments)
        for train in sweeps:
            found = [value.partition("=")[2] for value in train.split() if value.startswith("data.language=")]
            assert found == ([] if expected is None else [expected]) and "  " not in train


def test_the_list_of_scripts_is_complete():
    readme = (ROOT / "multirun_scripts" / "README.md").read_text(encoding="utf-8")
    for path in (*SCRIPTS, *SWEEPS):
        assert f"`{path.relative_to(ROOT / 'multirun_scripts').as_posix()}`" in readme, path
        assert path.suffix != ".sh" or os.access(path, os.X_OK), path


def test_a_script_passes_its_arguments_to_every_run(tmp_path):
    script = ROOT / "multirun_scripts" / "slim_figure3.sh"
    status, calls = run(script, tmp_path, "scale=small", "data=ptb", "seed=0,1")
    assert status == 0 and [call.split()[0] for call in calls] == [
        "lightrnn-train",
        "lightrnn-train",
        "lightrnn-report",
    ]
    for call in calls[:2]:
        assert call.endswith(" scale=small data=ptb seed=0,1") and " -m " in call
        assert "hydra.sweep.dir=multirun/slim_figure3-small-ptb hydra.sweep.subdir=${name}-seed${seed}" in call
    assert " experiment=slim/figure3 paper.model=se paper.parts=1,2,4,8,16,32,64,128 scale=small " in calls[1]
    folder = "multirun/slim_figure3-small-ptb"
    assert calls[2] == f"lightrnn-report {folder} output={folder}/report title='Report: slim_figure3-small-ptb'"


@pytest.mark.parametrize(("table", "order"), [("lightrnn_table4", ""), ("lightrnn_table5", "interpolate_order=4 ")])
def test_trained_models_are_interpolated_with_kneser_ney_once(table, order, tmp_path):
    """The mixture of a model that was trained again is measured again."""
    runs = tmp_path / "multirun" / table
    files = [("a", "best.ckpt"), ("b", "best.ckpt"), ("b", "kn.json"), ("c", "last.ckpt"), ("d", "kn.json")]
    for time, (name, file) in enumerate([*files, ("d", "best.ckpt")]):
        folder = runs / f"{table.replace('_', '-')}-lightrnn-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
        os.utime(folder / file, (time, time))
    _, calls = run(ROOT / "multirun_scripts" / f"{table}.sh", tmp_path)
    evaluated = [f"multirun/{table}/{table.replace('_', '-')}-lightrnn-{name}" for name in "ad"]
    assert [call for call in calls if call.startswith("lightrnn-evaluate ")] == [
        f"lightrnn-evaluate checkpoint={folder} interpolate=kn {order}json={folder}/kn.json" for folder in evaluated
    ]


def test_a_script_stops_if_an_evaluation_is_interrupted(tmp_path):
    for name in "ab":
        folder = tmp_path / "multirun" / "lightrnn_table4" / f"lightrnn-table4-{name}"
        folder.mkdir(parents=True)
        (folder / "best.ckpt").touch()
    script = ROOT / "multirun_scripts" / "lightrnn_table4.sh"
    status, calls = run(script, tmp_path, evaluates=130)
    assert status == 130 and [call.split()[0] for call in calls] == ["lightrnn-train", "lightrnn-evaluate"]
    status, calls = run(script, tmp_path, evaluates=1)
    assert status == 1 and [call.split()[0] for call in calls[2:]] == [
        *("lightrnn-train", "lightrnn-evaluate", "lightrnn-evaluate", "lightrnn-report")
    ]


def test_a_folder_is_named_by_the_corpus(tmp_path):
    script = ROOT / "multirun_scripts" / "lightrnn_table2.sh"
    _, calls = run(script, tmp_path, "data.name=mine", "scale=small", "data=text", "data.train=a.txt")
    folder = "multirun/lightrnn_table2-small-mine"
    assert calls[1] == f"lightrnn-report {folder} output={folder}/report title='Report: lightrnn_table2-small-mine'"


@pytest.mark.parametrize("arguments", [("scale=small", "--threads", "2"), ("--threads", "2", "scale=small")])
def test_scale_small_applies_to_the_timing_in_any_position(arguments, tmp_path):
    status, (timing, report) = run(ROOT / "multirun_scripts" / "slim_table7.sh", tmp_path, *arguments)
    assert status == 0 and "output_layers.py --vocabulary 100000 --hidden 512 " in timing
    assert timing.endswith(" --json multirun/slim_table7-small/output_layers.json --threads 2")
    folder = "multirun/slim_table7-small"
    assert report == f"lightrnn-report {folder} output={folder}/report title='Report: slim_table7-small'"


@pytest.mark.parametrize("device", [("--device", "cuda:1"), ("--device=cuda:1",)])
def test_timings_on_several_devices_are_kept(device, tmp_path):
    _, (timing, _) = run(ROOT / "multirun_scripts" / "slim_table7.sh", tmp_path, *device, "scale=small")
    assert timing.endswith(f" --json multirun/slim_table7-small/output_layers-cuda:1.json {' '.join(device)}")


def test_all_experiments_are_one_sweep_that_starts_from_the_first(tmp_path):
    """With a launcher that runs jobs in parallel, the experiments of a script run in parallel."""
    _, calls = run(ROOT / "multirun_scripts" / "lightrnn_figure4.sh", tmp_path, "data.root=folder")
    experiments = "experiment=lightrnn/figure4 experiment=lightrnn/figure4,lightrnn/figure4_control"
    assert len(calls) == 2 and f" {experiments} data.root=folder" in calls[0]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_help_is_the_usage_and_runs_nothing(script, tmp_path):
    for arguments in (["--help"], ["scale=small", "-h"]):
        done = subprocess.run([script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout[0].isupper(), done.stderr
        assert re.search(rf"^usage: .*{script.name} .*\]$", done.stdout, re.MULTILINE), done.stdout
        assert "_table.sh" not in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [0, 3])
def test_table_6_checks_its_files_first(number, tmp_path):
    script = ROOT / "multirun_scripts" / "slim_table6.sh"
    done = subprocess.run([script, *[script] * number, "data.train=a"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("'data.train=a' is not a file; usage: slim_table6.sh DEV.")


def test_a_script_reports_although_a_run_failed_and_fails_itself(tmp_path):
    (tmp_path / "multirun" / "lightrnn_table2").mkdir(parents=True)
    status, calls = run(ROOT / "multirun_scripts" / "lightrnn_table2.sh", tmp_path, trains=1)
    assert status == 1 and [call.split()[0] for call in calls] == ["lightrnn-train", "lightrnn-report"]


def test_a_script_whose_configuration_is_refused_prints_no_second_error(tmp_path):
    status, calls = run(ROOT / "multirun_scripts" / "slim_figure3.sh", tmp_path, trains=2)
    assert status == 2 and [call.split()[0] for call in calls] == ["lightrnn-train"]


def test_an_interrupted_script_stops(tmp_path):
    status, calls = run(ROOT / "multirun_scripts" / "slim_figure3.sh", tmp_path, trains=130)
    assert status == 130 and len(calls) == 1


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.stem)
def test_the_command_of_a_sweep_composes(sweep):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args  # takes seconds to import

    content = yaml.safe_load(sweep.read_text(encoding="utf-8"))
    assert content["command"][:3] == ["${env}", "${program}", "logger=wandb"]
    assert content["program"] == "lightrnn-train" and content["metric"]["name"] == "validation/perplexity"
    chosen = {
        key: {"value": node.get("value", (node.get("values") or [node.get("min")])[-1])}
        for key, node in content["parameters"].items()
    }
    overrides = create_sweep_command_args({"args": chosen})["args_no_hyphens"]
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        config = compose("train", ["logger=wandb", "name=test", "paths.run_dir=run", *overrides])
    assert config.data.name == "ptb"
