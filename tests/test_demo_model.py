"""The model that is part of the package: its size, its card, and every way to load it, without network access."""

import json
import math
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightrnn_pl import load
from lightrnn_pl.checkpoint import model_path, resolve_checkpoint, weights_file
from lightrnn_pl.cli.entry_points import evaluate, export, generate, score, table
from tests.composition import composed

FOLDER = Path(model_path("demo"))
TEXT = ["return a copy of the string .", "if the file does not exist , an exception is raised .", "<unk> self"]


@pytest.fixture(scope="module")
def demo():
    return load("demo")


def test_is_small_and_has_a_card():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for part in ("Evaluation protocol", "PSF License", "Apache-2.0", "experiment=demo/shipped", "| test |", '"demo"'):
        assert part in card


def test_is_what_its_experiment_trains(demo):
    config = composed("train", "experiment=demo/shipped", "name=demo")
    # Settings that were added later are not stored.
    for part in ("model", "allocation", "optimizer", "schedule"):
        assert not _differences(demo.config[part], config[part]), part
    assert demo.protocol["corpus"] == "pydoc" and len(demo.vocabulary) == demo.protocol["vocabulary_size"]
    assert "cache_dir" not in demo.config.data and not {"paths", "logger"} & set(demo.config)
    assert "/root" not in json.dumps(json.loads((FOLDER / "config.json").read_text(encoding="utf-8")))


def _differences(stored: dict, current: dict) -> list[str]:
    parts = [key for key in stored if OmegaConf.is_dict(stored[key])]
    differing = [key for key in stored if key not in parts and stored[key] != current[key]]
    return differing + [f"{key}.{name}" for key in parts for name in _differences(stored[key], current[key])]


def test_knows_the_language_of_documentation(demo):
    scores = demo.score(TEXT[:2])
    assert math.exp(-sum(map(sum, scores)) / sum(map(len, scores))) < 25
    assert "the" in demo.next_words("return a copy of", 3).words
    assert "expression" in demo.next_words("the regular", 3).words


def test_only_the_bare_name_means_the_model_of_the_package(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_checkpoint("demo") == FOLDER and weights_file("demo") == FOLDER / "model.safetensors"
    demo.save(tmp_path / "demo")
    assert model_path("./demo") == Path("demo") and model_path(Path("demo")) == Path("demo")
    assert load("./demo").score(TEXT) == demo.score(TEXT)


def test_commands_accept_its_name(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n".join(TEXT) + "\n")

    def run(command, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["lightrnn", "checkpoint=demo", "device=cpu", *arguments])
        command()
        return capsys.readouterr().out

    assert (
        run(generate, "prompt='return a copy of'", "next=2").split("\t")[0] == demo.next_words(TEXT[0][:16], 2).words[0]
    )
    assert [float(line.split("\t")[0]) for line in run(score, "text=text.txt").splitlines()] == pytest.approx(
        [sum(line) for line in demo.score(TEXT)], abs=1e-4
    )
    assert "string" in run(table, "word=string")
    assert "0 of" in run(table, "compare=demo")
    assert "perplexity" in run(evaluate, "text=text.txt")
    assert not list(tmp_path.glob(".cache"))
    monkeypatch.setattr(sys, "argv", ["lightrnn", "checkpoint=demo", "output=copy", "valid=null"])
    export()
    assert load(tmp_path / "copy").score(TEXT) == demo.score(TEXT)
