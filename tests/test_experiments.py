"""Every row of the papers' tables and figures composes in both scales and trains for one step.

The rows are read from conf/experiment. For training, a tiny corpus and a small hidden size replace those of the papers.
"""

import re

import pytest
from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.commands.train import check_paper_row
from lightrnn_pl.reporting.paper_tables import paper_tables
from lightrnn_pl.training import experiment
from tests.composition import composed
from tests.experiment_rows import OF_PAPERS, ROWS
from tests.training.runs import SMALL

CURVES = [row for row in OF_PAPERS if re.search(r"slim/figure\d", row[0])]
TRAINED = [row for row in ROWS if not re.search(r"data\.language=(?!cs)|paper\.table=|-dropout-0\.[15]", row[-1])]
"""Without the rows that differ from another one only in the corpus, the table or the dropout rate."""
RUN = [override for override in SMALL if not override.startswith(("name=", "model.", "data."))]


def label(row: tuple[str, ...]) -> str:
    return " ".join(row).removeprefix("experiment=")


def configured(row: tuple[str, ...], scale: str) -> DictConfig:
    """A row in a scale, with dummies for required values."""
    given = ("++data.root=folder", "++data.train=a", "++data.valid=b", "paths.run_dir=run", "debug=step")
    return composed("train", *RUN, *given, f"scale={scale}", *row)


@pytest.fixture(scope="module")
def tiny(tiny_text, tmp_path_factory):
    """A corpus that replaces any other."""
    files = [f"data.{split}={file}" for split, file in tiny_text.items()]
    folders = [f"paths.run_dir={tmp_path_factory.mktemp('unused')}", "name=unused"]
    cache = f"data.cache_dir={tmp_path_factory.mktemp('cache')}"
    sizes = ("data.batch_size=2", "data.sequence_length=7", "data.eval_batch_size=30")
    config = composed("train", "data=text", *files, *folders, *sizes, cache).data
    return OmegaConf.to_container(config, resolve=True)


def exhaustive_if_of_paper(row: tuple[str, ...]):
    """The row; those of papers are trained by ``tests/multirun_scripts``, too."""
    return pytest.param(row, marks=pytest.mark.exhaustive if row in OF_PAPERS else [])


def table_of(config) -> str:
    return str(config.paper.table)


@pytest.mark.parametrize("row", list(map(exhaustive_if_of_paper, TRAINED)), ids=label)
def test_takes_a_step(row, tiny, tmp_path, monkeypatch):
    # The plot is tested elsewhere.
    monkeypatch.setattr(experiment, "plot_perplexity", lambda histories, path: path)
    config = configured(row, "paper")
    config.paths.run_dir = str(tmp_path / "run")
    config.data = tiny
    config.model.hidden_dim = 40  # divisible by the rows' K of 8 and 10
    if "cutoffs" in config.model:
        config.model.cutoffs = [5, 20]  # below the size of the tiny vocabulary
    metrics = experiment.train(config)
    assert metrics["status"] == "completed" and metrics["history"][-1]["step"] == 1
    assert 1 < metrics["test"]["perplexity"] < 10 * metrics["vocabulary"]


@pytest.mark.parametrize("row", OF_PAPERS, ids=label)
def test_is_a_row_of_its_paper_in_both_scales(row):
    paper, small = configured(row, "paper"), configured(row, "small")
    family, table = re.match(r"experiment=(\w+)/((?:table|figure)\d)", row[0]).groups()
    for config, scale in ((paper, "paper"), (small, "small")):
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert config.paper.scale == scale
        expected = next((value.partition("=")[2] for value in row if value.startswith("paper.table=")), None)
        assert table_of(config) == (expected or f"{family}_{table}")
        assert config.name.startswith(table_of(config).replace("_", "-"))
        # The papers print no numbers for most points of their curves.
        rows = paper_tables()[table_of(config)].rows
        assert config.paper.row in rows or "figure" in table_of(config), (config.paper.row, list(rows))
    assert paper.model.hidden_dim >= small.model.hidden_dim > 0
    # LightRNN halves the rate without an improvement (section 4.1), the others after a small one (Kim et al. 2016).
    own = "PlateauSchedule" if paper.model.components == 2 else "KimSchedule"
    assert paper.schedule._target_.endswith(own) and small.schedule._target_.endswith("StepSchedule")
    assert small.reallocation.epochs_per_round == len(small.schedule.factors)
    for kept in ("solver", "optimizer", "allocation"):
        assert paper[kept] == small[kept], kept
    for part in ("embedding", "output", "loss"):
        assert paper.model[part]._target_ == small.model[part]._target_, part
    if (language := OmegaConf.select(paper, "paper.language")) is not None and "table3" not in table_of(paper):
        assert paper.paper.languages[paper.data.language] == language and paper.paper.row.endswith(f" {language}")
        assert paper.data.train == f"{paper.data.language}/train.txt" or paper.data.train == "a"


@pytest.mark.parametrize("row", CURVES, ids=label)
def test_every_point_of_a_curve_resolves(row):
    config = configured(row, "paper")
    names = set()
    for fraction, rate in config.paper.rates.items():
        config.paper.ratio = int(fraction.removeprefix("1/"))
        for config.paper.parts in (1, 8, 512):
            resolved = OmegaConf.to_container(config, resolve=True)
            names.add(resolved["name"])
            if "se" in row[1].split("="):
                embedding = resolved["model"]["embedding"]
                assert (embedding["num_parts"], embedding["compression"]) == (config.paper.parts, rate)
    varies = {"ne": 1, "hashed": 1}.get(row[1].partition("=")[2], 3 if "K=" in config.paper.row else 10)
    assert len(names) == varies


def test_no_two_rows_share_a_name():
    """Run folders are named by ``name``."""
    names = [configured(row, "paper").name for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"paper\.model selects a row of slim_table2 and is required; use one of ne, .*se-5k"),
        (["paper.model=se-11k"], r"paper\.model=se-11k is not a row of slim_table2; use one of ne, "),
        (["paper.model=se-10k", "model/embedding=hashed"], r"model/embedding=hashed has no effect, .* the embedding"),
        (["paper.model=se-10k", "model=hybrid"], r"model=hybrid has no effect, .*paper\.model=se-10k"),
    ],
)
def test_a_row_that_cannot_be_trained_is_rejected(overrides, message):
    config = composed("train", "paths.run_dir=run", "experiment=slim/table2", *overrides)
    with pytest.raises(ValueError, match=message):
        check_paper_row(config, overrides)


def test_overrides_of_other_layers_of_a_row_are_accepted():
    overrides = ["paper.model=se-10k", "model/output=adaptive", "model.hidden_dim=50"]
    check_paper_row(composed("train", "paths.run_dir=run", "experiment=slim/table2", *overrides), overrides)
    check_paper_row(composed("train", "paths.run_dir=run", "model=slim"), ["model=slim"])


def test_every_row_that_we_can_train_has_its_experiment():
    """Applies to the tables that contain only trained models."""
    known: dict[str, set[str]] = {}
    for row in OF_PAPERS:
        config = configured(row, "paper")
        known.setdefault(table_of(config), set()).add(str(config.paper.row))
    for table in ("lightrnn_table2", "lightrnn_table3", "slim_table2", "slim_table3", "slim_table7"):
        assert known[table] == set(paper_tables()[table].rows), table
    kneser_ney = {row for row in paper_tables()["lightrnn_table5"].rows if row.startswith("KN ")}
    assert known["lightrnn_table5"] == set(paper_tables()["lightrnn_table5"].rows) - kneser_ney
    # The other rows of Table 4 are those of LightRNN's Table 5.
    others = {row for row in paper_tables()["slim_table4"].rows if not row.startswith("SE ")}
    assert known["slim_table4"] == set(paper_tables()["slim_table4"].rows) - others
    assert others <= known["lightrnn_table5"]
