"""Group names and tags of runs."""

import pytest

from lightrnn_pl.building import as_plain
from lightrnn_pl.training.tracking.run_names import group_name, hydra_choices, tags
from tests.training.runs import compose_overrides


def configuration(*overrides):
    text = ("data=text", "data.train=a.txt", "data.valid=b.txt", "paths.run_dir=run", "paths.cache_dir=cache")
    return as_plain(compose_overrides(*text, *overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=7"],
        ["data.root=/elsewhere", "paths.cache_dir=other", "paths.run_dir=other"],
        ["trainer.accelerator=auto", "trainer.log_every_n_steps=7", "resume_point.every_minutes=9"],
        ["logger=csv", "callbacks=default"],
    ],
)
def test_seeds_and_paths_do_not_change_the_group(overrides):
    assert group_name(configuration(*overrides)) == group_name(configuration())


@pytest.mark.parametrize(
    "override",
    ["model.hidden_dim=9", "model.dropout=0.1", "data.train=c.txt", "trainer.max_epochs=2", "solver=keep", "name=b"],
)
def test_different_configurations_have_different_groups(override):
    assert group_name(configuration(override)) != group_name(configuration())


def test_the_parts_of_a_group_name():
    config = configuration("model.hidden_dim=9")
    name, sizes, fingerprint = group_name(config).split()
    assert (name, sizes, len(fingerprint)) == ("test", "2x9", 6)
    config["paper"] = {"table": "slim_table2", "row": "SE 10K", "scale": "small"}
    assert group_name(config) == f"slim_table2 SE 10K text small 2x9 {fingerprint}"


def test_tags(tmp_path):
    config = configuration()
    assert tags(config, {}) == ["text"]
    config["paper"] = {"table": "slim_table2", "row": "SE 10K", "scale": "small"}
    assert tags(config, {"model": "slim"}) == ["slim", "text", "slim_table2"]
    row = {**config, "paper": {**config["paper"], "model": "se-10k"}}
    assert tags(row, {"model": "full"}) == ["se-10k", "text", "slim_table2"]
    assert tags({**config, "data": {"name": "x" * 70}}, {}) == ["x" * 64, "slim_table2"]


def test_reads_the_choices_from_hydras_files(tmp_path):
    assert hydra_choices(tmp_path) == {}
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {model: slim}}}")
    assert hydra_choices(tmp_path) == {"model": "slim"}
