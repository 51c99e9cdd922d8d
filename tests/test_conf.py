"""Every YAML file in conf/ has a description, composes and instantiates; for experiments see test_experiments.py."""

import inspect
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.training.experiment import train
from lightrnn_pl.vocabulary import Vocabulary
from tests.cases import every
from tests.composition import CONF, composed
from tests.configuration_changes import CHANGES
from tests.training.runs import compose_overrides

FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
OPTIONS = [path for path in FILES if len(path.parts) > 1 and not path.stem.startswith("_")]
GROUPS = [path for path in OPTIONS if path.parts[0] != "experiment"]


def name_of(path: Path) -> str:
    return path.with_suffix("").as_posix()


NEEDED = {
    "data/text": ["data.train=train.txt", "data.valid=valid.txt"],
    "data/gigaword44m": ["data.train=train.txt", "data.valid=valid.txt"],
    "data/wmt12": ["data.train=train.txt", "data.valid=valid.txt"],
    "data/hub": ["data.id=somebody/something"],
    "data/disk": ["data.path=folder"],
    "data/archive": ["data.archive=large.zip", "data.train=train.txt", "data.valid=valid.txt"],
    "allocation/file": ["allocation.path=table.tsv"],
    "allocation/vectors": ["allocation.path=vectors.npz"],
    "allocation/model": ["allocation.checkpoint=run"],
    # Outputs with a single softmax need model.components=1.
    "model/output/full": ["model.components=1", "model/embedding=full"],
    "model/output/adaptive_vectors": ["model.components=1", "model/embedding=full"],
    "model/output/projected": ["model.components=1", "model/embedding=full"],
    "model/output/slim": ["model.components=1", "model/embedding=full"],
    "model/output/hashed": ["model.components=1", "model/embedding=full"],
    "model/output/hierarchical": ["model.components=1", "model/embedding=full"],
    "model/output/adaptive": ["model.components=1", "model/embedding=full"],
    "model/output/classes/random": ["model.components=1", "model/embedding=full", "model/output=hierarchical"],
    "model/output/classes/frequency": ["model.components=1", "model/embedding=full", "model/output=hierarchical"],
    "model/output/classes/clusters": ["model.components=1", "model/embedding=full", "model/output=hierarchical"],
    "model/output/classes/file": [
        *("model.components=1", "model/embedding=full", "model/output=hierarchical"),
        "model.output.classes.path=classes.tsv",
    ],
    "model/map/shuffled": ["model/embedding=slim"],
    "model/map/hashed": ["model/embedding=slim"],
    "model/map/clustered": ["model/embedding=slim", "model.embedding.map.path=vectors.npy"],
    "model/embedding/multi_component": ["model/output=multi_component"],
    # A sampled loss needs logits for individual words.
    "model/loss/nce": ["model.components=1", "model/embedding=full", "model/output=full"],
    "model/loss/importance_sampling": ["model.components=1", "model/embedding=full", "model/output=full"],
    "model/loss/blackout": ["model.components=1", "model/embedding=full", "model/output=full"],
}

"""Options whose name is not part of the name of their class."""

PARTIAL = ("averaging", "bootstrap", "data", "resume_point")
"""Groups that need further arguments."""

PLACES = {"model/map": "model/map@model.embedding.map"}
"""The override of groups that are chosen per place of use."""


def choose(path: Path):
    """``train`` with one option chosen and dummies for required values."""
    name = name_of(path)
    group, option = name.rsplit("/", 1)
    dummies = NEEDED.get(name, [])
    return composed("train", "name=test", "paths.run_dir=run", f"{PLACES.get(group, group)}={option}", *dummies)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_starts_with_a_description(path):
    first, *rest = (CONF / path).read_text(encoding="utf-8").splitlines()
    if path.parts[0] in ("experiment", "debug", "scale", "hparams_search"):
        assert first == "# @package _global_"
    if first.startswith("# @package "):  # in any other line, Hydra ignores it
        first, *rest = rest
    assert first.startswith("# ") and "@package" not in "".join([first, *rest])
    assert rest, "the file contains only a comment"


# test_configuration_keys.py builds the options with keys.
@pytest.mark.parametrize("path", every(3, GROUPS, always=lambda path: name_of(path) not in CHANGES), ids=str)
def test_composes_and_instantiates(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("vectors.npy", np.random.default_rng(0).normal(size=(30, 20)))
    table = ["word\trow\tcolumn", *(f"w{number}\t{number % 5}\t{number}" for number in range(30))]
    Path("classes.tsv").write_text("\n".join(table))
    if path.parts[0] == "hydra":
        return  # composed by every other case; contains no objects
    config = choose(path)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    made = MAKERS.get(path.parts[0], make_all)(config)
    assert made is not None


def make_all(config) -> list[Any]:
    """Instantiates every group with a ``_target_`` at its top level."""
    return [
        instantiate(node)
        for key, node in config.items()
        if OmegaConf.is_dict(node) and "_target_" in node and key not in PARTIAL
    ]


def make_model(config):
    vocabulary = Vocabulary([f"w{number}" for number in range(30)], list(range(30, 0, -1)))
    tokens = np.arange(300) % 30
    model = build_model(config, build_allocation(config, vocabulary, tokens), vocabulary, tokens=tokens)
    words = torch.zeros(2, 3, dtype=torch.int64)
    assert model.score(words, words)[0].shape == (2, 3)
    return model


def make_trainer(config):
    """Checks the keys, then instantiates for one CPU, since the configured devices may not be available."""
    trainer = hydra.utils.get_class(config.trainer._target_)
    unknown = {key for key in config.trainer if key != "_target_"} - set(inspect.signature(trainer).parameters)
    assert not unknown
    return instantiate(config.trainer, accelerator="cpu", devices=1, logger=False)


def make_reallocation(config):
    return instantiate(config.bootstrap, schedule=instantiate(config.schedule))


def make_data(config):
    module = instantiate(config.data)
    assert isinstance(module, CorpusDataModule)
    return module


def make_loggers(config):
    # Not instantiated, because W&B's logger writes files.
    return [inspect.signature(hydra.utils.get_class(logger._target_)) for logger in config.logger.values()]


MAKERS = {
    "averaging": lambda config: [instantiate(config.averaging, reallocation=None)] if config.averaging else [],
    "callbacks": lambda config: [instantiate(callback) for callback in config.callbacks.values() if callback],
    "data": make_data,
    "debug": make_trainer,
    "logger": make_loggers,
    "model": make_model,
    "reallocation": make_reallocation,
    "trainer": make_trainer,
}


@pytest.mark.parametrize(
    "preset", sorted(path.stem for path in OPTIONS if path.parts[0] == "debug" and path.stem != "size")
)
def test_a_debug_preset_runs(preset, tiny_text, tmp_path):
    run_dir = tmp_path / "run"
    corpus = [f"data.{split}={file}" for split, file in tiny_text.items()]
    folders = (f"paths.run_dir={run_dir}", f"paths.cache_dir={tmp_path / 'cache'}")
    metrics = train(compose_overrides(f"debug={preset}", "data=text", *corpus, *folders, "model.hidden_dim=32"))
    assert metrics["status"] == "completed"
    losses = [line["train_nll"] for line in metrics["history"]]
    if preset == "step":
        assert metrics["history"][-1]["step"] == 1
    elif preset == "overfit":
        assert losses[-1] < 0.5 * losses[0]
    elif preset == "limit":
        assert len(metrics["rounds"]) == 2 and metrics["rounds"][0]["reallocation"]["words_moved"] > 0
    elif preset == "profile":
        assert "run_training_batch" in (run_dir / "fit-profile.txt").read_text()


def test_the_list_of_groups_is_complete():
    folder = CONF.parent / "docs" / "reference" / "configuration"
    pages = "".join((folder / name).read_text(encoding="utf-8") for name in ("index.md", "experiments.md"))
    for path in FILES:
        if not path.stem.startswith("_"):
            is_experiment = path.parts[0] == "experiment"
            group = "experiment" if is_experiment else path.parent.as_posix()
            option = name_of(path).removeprefix("experiment/") if is_experiment else path.stem
            assert group == "." or (f"| [`{group}`](" in pages and f"`{option}`" in pages), path
