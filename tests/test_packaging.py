"""What is shipped: every package, every configuration file, and a wheel that trains where no checkout is."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from tests.training.runs import SMALL

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_listed():
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "lightrnn_pl").rglob("__init__.py")}
    assert sorted({*found, "lightrnn_pl.conf"}) == sorted(PYPROJECT["tool"]["setuptools"]["packages"])
    with_code = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "lightrnn_pl").rglob("*.py")}
    assert with_code == found, "a folder without __init__.py"


def test_every_command_exists():
    for target in PYPROJECT["project"]["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what is shipped, since setuptools leaves build folders beside its sources."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools")
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "conf", "lightrnn_pl"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_everything(wheel):
    shipped = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lightrnn_pl").rglob("*.py")}
    settings = {f"lightrnn_pl/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    folders = ("demo", "serving/page", "reporting/page", "reporting/paper", "web")
    data = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / "lightrnn_pl" / folder).glob("*")
        if path.is_file()
    }
    others = {"lightrnn_pl/py.typed", "lightrnn_pl/conf/__init__.py", "lightrnn_pl/export/onnx_client.mjs"}
    expected = modules | settings | data | others
    assert expected <= shipped
    extra = {name for name in shipped - expected if ".dist-info/" not in name and not name.endswith(".md")}
    assert not extra


TRAIN = "from lightrnn_pl.cli.entry_points import train; train()"


def test_the_wheel_trains_where_no_checkout_is(wheel, tiny_text, tmp_path):
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("-c", "import lightrnn_pl, lightrnn_pl.conf as c; print(lightrnn_pl.__file__, c.__file__)")
    assert where.count(str(installed)) == 2, where
    assert "usage: lightrnn-train" in run("-c", TRAIN, "--help")
    corpus = [f"data.{split}={path}" for split, path in tiny_text.items()]
    run(
        *("-c", TRAIN, "hydra.run.dir=run", "debug=step"),
        *(*SMALL, "data=text", *corpus, f"paths.cache_dir={tmp_path / 'cache'}"),
    )
    assert json.loads((elsewhere / "run" / "metrics.json").read_text())["status"] == "completed"
