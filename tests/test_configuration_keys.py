"""Every key of the groups of ``lightrnn-train`` has an effect: another value changes the result, or is refused.

The result is what the configured object computes (a model, an allocation, a solution), or a tiny run.
``configuration_changes.py`` lists the values and the exceptions.  The groups in ``SETS_OTHER_KEYS`` contain no keys of
their own; ``test_experiments.py`` checks that the keys they set exist.
"""

import fnmatch
import functools
import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything

from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.building import build_allocation, build_model, instantiate
from lightrnn_pl.cli.errors import EXPECTED, one_line
from lightrnn_pl.training import experiment
from lightrnn_pl.training.reallocation import callback
from tests.composition import CONF, composed
from tests.configuration_changes import CHANGES, EXCEPTIONS, EXTENDED, OVERRIDES, TINY, UNTRIED, UNUSUAL, VALID

SETS_OTHER_KEYS = ("debug", "experiment", "hparams_search", "hydra", "scale")
PLACES = {"model/map": "model/map@model.embedding.map"}
"""The override of groups that are selected per place of use."""


def option_files() -> dict[str, Path]:
    """The files that define keys, by option: ``train``, ``data/_common``, and so on."""
    paths = [CONF / "train.yaml", *sorted(CONF.glob("*/**/*.yaml"))]
    options = {path.relative_to(CONF).with_suffix("").as_posix(): path for path in paths}
    return {option: path for option, path in options.items() if option.split("/")[0] not in SETS_OTHER_KEYS}


def keys_in(path: Path) -> list[str]:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    content.pop("defaults", None)
    return [key for key in leaves(content) if key.rpartition(".")[2] not in ("_target_", "_partial_")]


def leaves(node: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys of the values of a nested dictionary."""
    return [
        leaf
        for key, value in node.items()
        for leaf in (leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"])
    ]


def matches(pair: tuple[str, str], table: Iterable[str]) -> list[str]:
    """The patterns in ``table`` that match an option and a key."""
    return [pattern for pattern in table if fnmatch.fnmatchcase(":".join(pair), pattern)]


ALL_KEYS = {(option, key) for option, path in option_files().items() for key in keys_in(path)}
LISTED = {(option, key) for option, changes in CHANGES.items() for key in changes}


def exceptions_for(option: str, key: str) -> set[str]:
    """The entries of ``EXCEPTIONS`` that cover a key."""
    return {
        entry
        for entry in EXCEPTIONS
        for excepted_option, _, excepted_key in [entry.partition(":")]
        if fnmatch.fnmatchcase(option, excepted_option)
        and (fnmatch.fnmatchcase(key, excepted_key) or key.startswith(f"{excepted_key}."))
    }


def is_inherited(option: str, key: str) -> bool:
    """Whether the key is listed with an option of the same group, which this option extends."""
    group = option.rpartition("/")[0]
    return any((extended, key) in LISTED for extended in EXTENDED if extended.rpartition("/")[0] == group)


def test_every_key_is_listed():
    missing = {pair for pair in ALL_KEYS - LISTED if not exceptions_for(*pair) and not is_inherited(*pair)}
    assert not missing, "list another value in CHANGES, or a reason in EXCEPTIONS"


def test_no_entry_is_stale():
    assert not LISTED - ALL_KEYS
    assert set(EXCEPTIONS) == set().union(*(exceptions_for(*pair) for pair in ALL_KEYS - LISTED))


@pytest.mark.parametrize(("option", "key"), [pytest.param(*pair, id=":".join(pair)) for pair in sorted(LISTED)])
def test_another_value_changes_the_result_or_is_refused(option, key, workplace):
    change = CHANGES[option][key]
    value, *context = change if isinstance(change, tuple) else (change,)  # the other entries are overrides
    changed = configuration(option, *context)
    OmegaConf.update(changed, node_of(option) + key, value, merge=False)
    try:
        result = measure(option, changed)
    except EXPECTED as error:
        assert "\n" not in one_line(error)
        return
    assert result != baseline(option, *context)


@pytest.mark.parametrize("option", ["train", "model/_common", "allocation/cooccurrence", "solver/auction"])
def test_the_result_does_not_change_by_itself(option, workplace):
    assert measure(option, configuration(option)) == baseline(option)


@pytest.mark.parametrize(
    ("option", "key"),
    [
        pytest.param(*pair, id=":".join(pair), marks=[] if pair[0] in ("train", *EXTENDED) else pytest.mark.exhaustive)
        for pair in sorted(ALL_KEYS)
        if not matches(pair, UNTRIED)
    ],
)
def test_unusual_values_are_refused_before_the_initial_allocation(option, key, workplace, monkeypatch):
    monkeypatch.setattr(experiment, "build_allocation", allocation_without_assignment)
    accepted = []
    for name, value in UNUSUAL.items():
        config = configuration(option)
        OmegaConf.update(config, "paths.run_dir", "unusual")
        OmegaConf.update(config, node_of(option) + key, value, merge=False)
        try:
            experiment.train(config)
        except WouldAssignWords:
            accepted.append(name)
        except EXPECTED as error:
            assert "\n" not in one_line(error)
    patterns = matches((option, key), VALID)
    assert tuple(accepted) == (VALID[patterns[0]] if patterns else ())


class WouldAssignWords(Exception):
    """An initial allocation would be computed now."""


def allocation_without_assignment(config, vocabulary, tokens=None, assign_words=True):
    if assign_words:
        instantiate(config.allocation)
        raise WouldAssignWords
    return build_allocation(config, vocabulary, tokens, assign_words)


def test_no_entry_about_unusual_values_is_stale():
    for table in (VALID, UNTRIED):
        assert set(table) == {pattern for pair in ALL_KEYS for pattern in matches(pair, table)}


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory):
    """A corpus, files with word vectors and codes for its vocabulary, and two trained models."""
    folder = tmp_path_factory.mktemp("keys")
    generator = np.random.default_rng(0)
    for split, lines in (("train", 40), ("valid", 6), ("test", 6)):
        text = generator.zipf(1.3, (lines, 7)) % 97
        (folder / f"{split}.txt").write_text("".join(" ".join(f"w{word}" for word in line) + "\n" for line in text))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        without_output(patch)
        for name, seed in (("trained", 0), ("other", 5)):
            config = configuration("train")
            OmegaConf.update(config, "seed", seed)
            OmegaConf.update(config, "paths.run_dir", name)
            experiment.train(config)
            words = corpus(config).vocabulary.words
            rows = generator.permutation(len(words))
            np.save(f"{name}.npy", generator.normal(size=(len(words), 20)))
            side = math.isqrt(len(words)) + 1
            table = [f"{word}\t{row // side}\t{row % side}\n" for word, row in zip(words, rows, strict=True)]
            Path(f"{name}.tsv").write_text("word\trow\tcolumn\n" + "".join(table))
    Path(folder / "words.txt").write_text("".join(f"w{number}\n" for number in range(9)))
    Path(folder / "ordered.txt").write_text("".join(f"w{number}\n" for number in range(9)) + "<unk>\n<eos>\n")
    return folder


@pytest.fixture
def workplace(module_folder, monkeypatch):
    """Work in ``module_folder``, without printing and plotting, which take most of the time of a tiny run."""
    monkeypatch.chdir(module_folder)
    without_output(monkeypatch)


def without_output(patch: pytest.MonkeyPatch) -> None:
    for name in ("print_model", "print_results", "print_typical_words", "plot_perplexity"):
        patch.setattr(experiment, name, lambda *arguments: None)
    patch.setattr(callback, "print_typical_words", lambda *arguments: None)


def configuration(option: str, *context: str) -> DictConfig:
    """The configuration of a tiny run with an option."""
    group, _, name = option.rpartition("/")
    needed = [*OVERRIDES.get(group, []), *OVERRIDES.get(option, [])]
    selected = [] if not group or name.startswith("_") else [f"{PLACES.get(group, group)}={name}"]
    last_wins = {override.partition("=")[0]: override for override in [*TINY, *needed, *selected, *context]}
    return composed("train", *last_wins.values())


def node_of(option: str) -> str:
    """The node of the configuration that the option fills, with a final dot; empty for the whole configuration."""
    group = option.rpartition("/")[0]
    place = PLACES.get(group, group).rpartition("@")[2].replace("/", ".")
    return f"{place}." if place else ""


@functools.cache
def baseline(option: str, *context: str) -> Any:
    return measure(option, configuration(option, *context))


def measure(option: str, config: Any) -> Any:
    """What the configured object computes, in a form that can be compared."""
    group = option.split("/")[0]
    return {"model": measure_model, "allocation": measure_allocation, "solver": measure_solver}.get(group, measure_run)(
        config
    )


def measure_model(config) -> Any:
    seed_everything(0, verbose=False)
    data = corpus(config)
    tokens = np.asarray(data.training_tokens())
    model = build_model(config, build_allocation(config, data.vocabulary, tokens), data.vocabulary, tokens=tokens)
    words = torch.tensor(tokens[:40].reshape(4, 10)).long()
    losses = model(words, words)[0]
    scores = model.eval().score(words, words)[0]
    parts = [*model.state_dict().values(), losses, scores]
    return [part.detach().tolist() for part in parts], model.num_bytes


def measure_allocation(config) -> Any:
    data = corpus(config)
    return build_allocation(config, data.vocabulary, data.training_tokens()).codes.tolist()


def measure_solver(config) -> Any:
    """Solutions of two similar problems, as in two rounds."""
    side = 34 if "AutoSolver" in config.solver._target_ else 12  # AutoSolver solves small problems exactly
    generator = np.random.default_rng(0)
    costs = generator.gumbel(size=(2, side**2, side)).astype(np.float32)
    solver = instantiate(config.solver)
    solver.check(side**2, (side, side))
    solutions = [solver.solve(ReallocationProblem((costs[0] + shift * costs[1], costs[1]))) for shift in (0.0, 0.1)]
    return [(solution.codes.tolist(), solution.cost, solution.lower_bound) for solution in solutions]


_numbers = itertools.count()


def measure_run(config) -> Any:
    """The metrics and the files of a run."""
    OmegaConf.update(config, "paths.run_dir", f"run-{next(_numbers)}")
    metrics = experiment.train(config)
    folder = Path(config.paths.run_dir)
    logged = [path.read_text().count("\n") for path in folder.rglob("metrics.csv")]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return without_times({key: metrics[key] for key in metrics.keys() - TIMES}), files, logged


TIMES = {"seed", "machine", "commit", "seconds", "words_per_second", "share_of_training_time", "checkpoint"}


def without_times(node: Any) -> Any:
    """The same metrics without the entries that differ between two runs with the same configuration."""
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if key not in TIMES and not key.startswith("seconds_")}
        return {key: without_times(value) for key, value in kept.items()}
    return [without_times(value) for value in node] if isinstance(node, list) else node


def corpus(config):
    data = instantiate(config.data)
    data.prepare_data()
    data.setup()
    return data
