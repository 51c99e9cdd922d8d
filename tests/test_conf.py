"""Every YAML file in conf/ says what it is, composes, and makes what it names; experiments: test_experiments.py."""

import inspect
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.training.experiment import train
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.runs import compose_overrides

CONF = Path(__file__).parents[1] / "conf"
FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
OPTIONS = [path for path in FILES if len(path.parts) > 1 and not path.stem.startswith("_")]
GROUPS = [path for path in OPTIONS if path.parts[0] != "experiment"]

NEEDED = {
    "data/text": ["data.train=train.txt", "data.valid=valid.txt"],
    "data/gigaword44m": ["data.train=train.txt", "data.valid=valid.txt"],
    "data/wmt12": ["data.train=train.txt", "data.valid=valid.txt"],
    "data/hub": ["data.id=somebody/something"],
    "data/disk": ["data.path=folder"],
    "data/billionw": ["data.root=folder"],
    "allocation/file": ["allocation.path=table.tsv"],
    "allocation/vectors": ["allocation.path=vectors.npz"],
    "allocation/model": ["allocation.checkpoint=run"],
    # An output that predicts a word in one step knows words of one code only.
    "model/output/full": ["model.components=1", "model/embedding=full"],
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
    # A sampled loss looks at the scores of single words.
    "model/loss/nce": ["model.components=1", "model/embedding=full", "model/output=full"],
    "model/loss/importance_sampling": ["model.components=1", "model/embedding=full", "model/output=full"],
    "model/loss/blackout": ["model.components=1", "model/embedding=full", "model/output=full"],
}

CLASS_FILES = {
    "allocation": "first",  # small classes that share a file
    "schedule": "callbacks/schedule",
    "model/core": "cores",
    "model/output/classes": "classes",
}


PLACES = {"model/map": "model/map@model.embedding.map"}
"""Where a group's option is chosen that stands inside another's."""


def name_of(path: Path) -> str:
    return path.with_suffix("").as_posix()


def choose(path: Path, *overrides: str):
    """``train`` with one option chosen, and dummies for what the user has to give."""
    name = name_of(path)
    group, option = name.rsplit("/", 1)
    dummies = NEEDED.get(name, ["data.root=folder"] if option.startswith("aclw_") else [])
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        return compose(
            "train", ["name=test", "paths.run_dir=run", f"{PLACES.get(group, group)}={option}", *dummies, *overrides]
        )


@pytest.mark.parametrize("path", FILES, ids=str)
def test_says_what_it_is(path):
    first, *rest = (CONF / path).read_text(encoding="utf-8").splitlines()
    if path.parts[0] in ("experiment", "debug", "scale", "hparams_search"):
        # Anywhere but in the first line, Hydra takes it for a comment, and the file changes nothing.
        assert first == "# @package _global_"
        first, *rest = rest
    assert first.startswith("# ") and "@package" not in first
    assert rest, "a file that says nothing else"


@pytest.mark.parametrize("path", GROUPS, ids=str)
def test_composes_and_instantiates(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("vectors.npy", np.random.default_rng(0).normal(size=(30, 20)))
    table = ["word\trow\tcolumn", *(f"w{number}\t{number % 5}\t{number}" for number in range(30))]
    Path("classes.tsv").write_text("\n".join(table))
    if path.parts[0] == "hydra":
        return  # composed by every other case; it has no objects
    config = choose(path)
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    made = MAKERS.get(path.parts[0], make_all)(config)
    assert made is not None


def make_all(config) -> list[Any]:
    """Everything with a ``_target_`` at the top of each group."""
    return [
        instantiate(node)
        for key, node in config.items()
        if OmegaConf.is_dict(node) and "_target_" in node and key not in ("data", "reallocation", "resume_point")
    ]


def make_model(config):
    vocabulary = Vocabulary([f"w{number}" for number in range(30)], list(range(30, 0, -1)))
    tokens = np.arange(300) % 30
    model = build_model(config, build_allocation(config, vocabulary, tokens), vocabulary, tokens=tokens)
    words = torch.zeros(2, 3, dtype=torch.int64)
    assert model.score(words, words)[0].shape == (2, 3)
    return model


def make_trainer(config):
    """A trainer looks for its devices when it is made, so only its keys are checked where there are none."""
    trainer = hydra.utils.get_class(config.trainer._target_)
    unknown = {key for key in config.trainer if key != "_target_"} - set(inspect.signature(trainer).parameters)
    assert not unknown
    return instantiate(config.trainer, accelerator="cpu", devices=1, logger=False)


def make_reallocation(config):
    return instantiate(config.reallocation, solver=instantiate(config.solver), schedule=instantiate(config.schedule))


def make_data(config):
    module = instantiate(config.data)
    assert isinstance(module, CorpusDataModule)
    return module


def make_loggers(config):
    # Made by the experiments below; W&B's would leave files here.
    return [inspect.signature(hydra.utils.get_class(logger._target_)) for logger in config.logger.values()]


MAKERS = {
    "callbacks": lambda config: [instantiate(callback) for callback in config.callbacks.values() if callback],
    "data": make_data,
    "debug": make_trainer,
    "logger": make_loggers,
    "model": make_model,
    "reallocation": make_reallocation,
    "trainer": make_trainer,
}


@pytest.mark.parametrize("path", [path for path in GROUPS if "_target_:" in (CONF / path).read_text()], ids=str)
def test_is_named_as_its_class_and_file(path):
    """conf/solver/exact.yaml names a class in solvers/exact.py."""
    target = OmegaConf.load(CONF / path).get("_target_")
    if target is None or not target.startswith("lightrnn_pl.") or path.parts[0] == "data":
        return
    found = hydra.utils.get_object(target)
    group = path.parent.as_posix()
    expected = CLASS_FILES.get(group, path.stem)
    own = Path(inspect.getfile(found)).with_suffix("").as_posix()
    assert own.endswith((f"/{expected}", f"/{path.stem}", f"/{path.parts[0]}")), own


@pytest.mark.parametrize("preset", sorted(path.stem for path in OPTIONS if path.parts[0] == "debug"))
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
    readme = (CONF / "README.md").read_text(encoding="utf-8")
    for path in FILES:
        if not path.stem.startswith("_"):
            is_experiment = path.parts[0] == "experiment"
            group = "experiment" if is_experiment else path.parent.as_posix()
            option = name_of(path).removeprefix("experiment/") if is_experiment else path.stem
            assert group == "." or (f"| `{group}` |" in readme and f"`{option}`" in readme), path
