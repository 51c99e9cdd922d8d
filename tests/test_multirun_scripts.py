"""The scripts that make the papers' tables, and W&B's sweeps: they name what there is, and pass on what is given."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from lightrnn_pl.reporting.paper_tables import paper_tables

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("multirun_scripts/[a-z]*.sh"))
SWEEPS = sorted(ROOT.glob("multirun_scripts/wandb/*.yaml"))
EXPERIMENTS = ROOT / "conf" / "experiment"
LANGUAGES = ("spanish", "french", "english", "czech", "german", "russian")


def named_experiments(script: Path) -> set[str]:
    found = re.findall(r"\b(?:lightrnn|slim)/(?:table|figure)\d[\w.$]*", script.read_text(encoding="utf-8"))
    return {name.replace("$language", language) for name in found for language in LANGUAGES}


def run(script: Path, folder: Path, *arguments: str, trains: int = 0) -> tuple[int, list[str]]:
    """Status of a script, and the commands it calls, which are recorded but not run; training ends with ``trains``."""
    commands = folder / "bin"
    commands.mkdir()
    for command in ("python", *(f"lightrnn-{name}" for name in ("train", "report", "evaluate", "table", "rescore"))):
        status = trains if command == "lightrnn-train" else 0
        (commands / command).write_text(f'#!/bin/sh\necho "{command} $*" >> "{folder}/calls"\nexit {status}\n')
        (commands / command).chmod(0o755)
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(script), *arguments], cwd=folder, env=environment, timeout=60, check=False)
    return done.returncode, (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_names_experiments_that_there_are(script):
    for name in named_experiments(script):
        assert (EXPERIMENTS / f"{name}.yaml").is_file(), name


def test_every_table_and_figure_has_its_script_and_every_row_is_in_one():
    figures = {"lightrnn_figure4", "lightrnn_figure5", "slim_figure4"}
    assert {script.stem for script in SCRIPTS} == set(paper_tables()) | figures
    rows = {
        path.relative_to(EXPERIMENTS).as_posix().removesuffix(".yaml")
        for path in EXPERIMENTS.glob("*/[a-z]*.yaml")
        if re.match(r"(table|figure)\d", path.name)
    }
    # The output layers of Table 7 are timed without training.
    assert rows == {name for script in SCRIPTS for name in named_experiments(script)} | {
        f"slim/table7_{name}" for name in ("uncompressed", "hashnet", "se")
    }


def test_the_list_of_scripts_is_complete():
    readme = (ROOT / "multirun_scripts" / "README.md").read_text(encoding="utf-8")
    for path in (*SCRIPTS, *SWEEPS):
        assert f"`{path.relative_to(ROOT / 'multirun_scripts').as_posix()}`" in readme, path
        assert path.suffix != ".sh" or os.access(path, os.X_OK), path


def test_a_script_passes_on_what_it_is_given(tmp_path):
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
    assert "paper.parts=1,2,4,8,16,32,64,128 " in calls[1]
    assert calls[2] == "lightrnn-report multirun/slim_figure3-small-ptb output=multirun/slim_figure3-small-ptb/report"


def test_a_folder_is_named_by_the_corpus(tmp_path):
    script = ROOT / "multirun_scripts" / "lightrnn_table2.sh"
    _, calls = run(script, tmp_path, "data.name=mine", "scale=small", "data=text", "data.train=a.txt")
    folder = "multirun/lightrnn_table2-small-mine"
    assert calls[1] == f"lightrnn-report {folder} output={folder}/report"


@pytest.mark.parametrize("arguments", [("scale=small", "--threads", "2"), ("--threads", "2", "scale=small")])
def test_the_timing_of_a_layer_is_small_wherever_that_is_said(arguments, tmp_path):
    status, (timing, report) = run(ROOT / "multirun_scripts" / "slim_table7.sh", tmp_path, *arguments)
    assert status == 0 and "output_layers.py --vocabulary 100000 --hidden 512 " in timing
    assert timing.endswith(" --json multirun/slim_table7-small/output_layers.json --threads 2")
    assert report == "lightrnn-report multirun/slim_table7-small output=multirun/slim_table7-small/report"


def test_a_script_reports_although_a_run_failed_and_fails_itself(tmp_path):
    status, calls = run(ROOT / "multirun_scripts" / "lightrnn_table2.sh", tmp_path, trains=1)
    assert status == 1 and [call.split()[0] for call in calls] == ["lightrnn-train", "lightrnn-report"]


def test_a_script_that_is_interrupted_stops(tmp_path):
    status, calls = run(ROOT / "multirun_scripts" / "slim_figure3.sh", tmp_path, trains=130)
    assert status == 130 and len(calls) == 1


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.stem)
def test_what_w_and_b_calls_composes(sweep):
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
