"""Every experiment composes in both scales and takes a real step; a row of a paper's table is one that the paper has.

The papers' corpora give way to a tiny one and their nets to tiny ones, so that all of them together take a minute.
"""

import copy
import functools
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from lightrnn_pl.reporting.paper_tables import paper_tables
from lightrnn_pl.training import experiment
from tests.training.runs import SMALL

CONF = Path(__file__).parents[1] / "conf" / "experiment"
EXPERIMENTS = sorted(
    path.relative_to(CONF).as_posix().removesuffix(".yaml")
    for path in CONF.rglob("*.yaml")
    if not path.stem.startswith("_")
)
OF_PAPERS = [name for name in EXPERIMENTS if re.search(r"/(table|figure)\d", name)]
RUN = [override for override in SMALL if not override.startswith(("name=", "model.", "data."))]


@pytest.fixture(scope="module")
def composed():
    """Composing, with Hydra set up once for all."""
    with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
        yield lambda *overrides: compose("train", [*overrides])


@pytest.fixture(scope="module")
def configured(composed):
    """An experiment in a scale, with dummies for what the user has to give; composed once, because that takes most."""
    given = ("++data.root=folder", "++data.train=a", "++data.valid=b", "paths.run_dir=run", "debug=step")
    return functools.cache(lambda name, scale: composed(*RUN, *given, f"experiment={name}", f"scale={scale}"))


@pytest.fixture(scope="module")
def tiny(composed, tiny_text, tmp_path_factory):
    """A corpus to put in the place of any."""
    files = [f"data.{split}={file}" for split, file in tiny_text.items()]
    folders = [f"paths.run_dir={tmp_path_factory.mktemp('unused')}", "name=unused"]
    cache = f"data.cache_dir={tmp_path_factory.mktemp('cache')}"
    sizes = ("data.batch_size=2", "data.sequence_length=7", "data.eval_batch_size=30")
    config = composed("data=text", *files, *folders, *sizes, cache).data
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_takes_a_step(name, configured, tiny, tmp_path, monkeypatch):
    # What every run draws and prints is tried elsewhere.
    monkeypatch.setattr(experiment, "plot_perplexity", lambda histories, path: path)
    monkeypatch.setattr(experiment, "print_config", lambda config: None)
    config = copy.deepcopy(configured(name, "paper"))
    config.paths.run_dir = str(tmp_path / "run")
    config.data = tiny
    config.model.hidden_dim = 40  # the eight and the ten parts of the rows divide it
    metrics = experiment.train(config)
    assert metrics["status"] == "completed" and metrics["history"][-1]["step"] == 1
    assert 1 < metrics["test"]["perplexity"] < 10 * metrics["vocabulary"]


@pytest.mark.parametrize("name", OF_PAPERS)
def test_is_a_row_of_its_paper_in_both_scales(name, configured):
    paper, small = configured(name, "paper"), configured(name, "small")
    for config, scale in ((paper, "paper"), (small, "small")):
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert config.paper.scale == scale
        table = "_".join(re.match(r"(\w+)/((?:table|figure)\d)", name).groups())
        assert config.paper.table == table and config.name.startswith(table.replace("_", "-"))
        rows = paper_tables()[config.paper.table].rows
        # The papers print no numbers at most points of their curves.
        assert config.paper.row in rows or "figure" in config.paper.table, (config.paper.row, list(rows))
    assert paper.model.hidden_dim >= small.model.hidden_dim > 0
    assert (small.schedule._target_.rpartition(".")[2], paper.schedule._target_.rpartition(".")[2]) == (
        "StepSchedule",
        "PlateauSchedule",
    )
    assert small.reallocation.epochs_per_round == len(small.schedule.factors)
    for kept in ("solver", "optimizer", "allocation"):
        assert paper[kept] == small[kept], kept
    for part in ("embedding", "output", "loss"):
        assert paper.model[part]._target_ == small.model[part]._target_, part


def test_every_row_that_we_can_train_has_its_experiment():
    """Of the tables that are made of trained models only."""
    known: dict[str, set[str]] = {}
    for name in OF_PAPERS:
        text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
        for row in re.findall(r"^  row: (.+)$", text, re.MULTILINE):
            family, file = name.split("/")
            known.setdefault(f"{family}_{file.split('_')[0]}", set()).add(row.strip('"'))
    for table in ("lightrnn_table2", "lightrnn_table3", "slim_table2", "slim_table3", "slim_table7"):
        assert known[table] == set(paper_tables()[table].rows), table
    kneser_ney = {row for row in paper_tables()["lightrnn_table5"].rows if row.startswith("KN ")}
    assert known["lightrnn_table5"] == set(paper_tables()["lightrnn_table5"].rows) - kneser_ney
    # Table 4's other rows are LightRNN's Table 5.
    others = {row for row in paper_tables()["slim_table4"].rows if not row.startswith("SE ")}
    assert known["slim_table4"] == set(paper_tables()["slim_table4"].rows) - others
    assert others <= known["lightrnn_table5"]
