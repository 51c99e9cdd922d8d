"""Options of groups: private files are neither listed nor accepted, and ``group=null`` is accepted or explained."""

import subprocess
from pathlib import Path

import pytest

from lightrnn_pl.cli.config_options import without_null_options

UNSET = ("debug", "experiment")


def run(commands: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [commands / "lightrnn-train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def fails(commands: Path, *arguments: str, cwd: Path) -> str:
    """The messages of ``lightrnn-train``, which must not start training."""
    done = run(commands, *arguments, cwd=cwd)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    return done.stderr


def test_unset_groups_can_be_null():
    arguments = ["debug=null", "seed=1", "paper=null", "model.sides=null", "prompt=null", "experiment=demo/full"]
    assert without_null_options(arguments, UNSET) == ["~debug", *arguments[1:]]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("solver=null", "solver=null: solver needs an option"),
        ("model/output=null", "model/output=null: model/output needs an option"),
        ("debug=null,step", "debug=null,step: a sweep cannot include null"),
    ],
)
def test_null_is_explained_where_it_is_not_possible(argument, message):
    with pytest.raises(ValueError, match=message):
        without_null_options([argument], UNSET)


def test_debug_null_composes(commands, tmp_path):
    done = run(commands, "debug=null", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0 and "seed: 0" in done.stdout, done.stderr


def test_private_files_are_no_options(commands, tmp_path):
    done = run(commands, "--help", cwd=tmp_path)
    assert "model: adaptive, char_hierarchical" in done.stdout
    groups = done.stdout.partition("groups (folders")[2].partition("configuration:")[0]
    options = [option for line in groups.splitlines() if ": " in line for option in line.split(": ")[1].split(", ")]
    assert len(options) > 50 and not [option for option in options if option.startswith("_")]
    listed = fails(commands, "model=nonexistent", cwd=tmp_path)
    assert "model=nonexistent is not an option" in listed and "_common" not in listed
    assert fails(commands, "model=_common", cwd=tmp_path).startswith("error: model=_common is a part of other options")


def test_required_values_behind_an_interpolation_are_named(commands, tmp_path):
    message = fails(commands, "data=hub", f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert message == "error: data.id is required; pass data.id=...\n"
