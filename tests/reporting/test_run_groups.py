import statistics

import pytest
from omegaconf import OmegaConf

from lightrnn_pl.reporting.results_folder import save_results
from lightrnn_pl.reporting.run_groups import Spread, group_runs, repeated_runs
from lightrnn_pl.reporting.runs import find_runs
from tests.reporting.folders import make_run


def test_seeds_of_one_configuration_are_one_group(tmp_path):
    for seed, test in ((0, 100.0), (1, 104.0), (2, 99.0)):
        make_run(tmp_path / str(seed), seed, test)
    (group,) = group_runs(find_runs([tmp_path]))
    assert group.label == "lightrnn-ptb" and [run.seed for run in group.runs] == [0, 1, 2]
    spread = group.spread(lambda metrics: metrics["test"]["perplexity"])
    assert spread == Spread(101.0, pytest.approx(statistics.stdev([100, 104, 99])), 3)


def test_runs_with_another_seed_of_the_allocation_are_distinct(tmp_path):
    """seed=0 with two allocations, and seed=1 with the first of them."""
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", allocation__seed=5)
    make_run(tmp_path / "c", seed=1, allocation__seed=0)
    (group,) = group_runs(find_runs([tmp_path]))
    assert len(group.runs) == 3


def test_a_single_number_has_no_deviation():
    assert Spread.of([3.0]) == Spread(3.0, None, 1)
    assert Spread.of([None, 3.0, float("nan"), 5.0]) == Spread(4.0, pytest.approx(2**0.5), 2)
    assert Spread.of([None]) is None


def test_folders_and_loggers_do_not_change_the_group(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", seed=1, paths__run_dir="/elsewhere/b", data__root="/elsewhere", logger__csv={"x": 1})
    make_run(tmp_path / "c", seed=2, data__train="/elsewhere/data/ptb/train.txt")
    (group,) = group_runs(find_runs([tmp_path]))
    assert len(group.runs) == 3


def test_a_repeated_run_counts_once(tmp_path):
    make_run(tmp_path / "a", test=100)
    make_run(tmp_path / "b", test=100)
    make_run(tmp_path / "c", seed=1, test=110)
    runs = find_runs([tmp_path])
    (group,) = group_runs(runs)
    assert [run.path.name for run in group.runs] == ["a", "c"]
    assert [run.path.name for run in repeated_runs(runs)] == ["b"]


def test_only_completed_runs_are_grouped(tmp_path):
    make_run(tmp_path / "a")
    for status in ("running", "failed", "interrupted"):
        make_run(tmp_path / status, seed=3, metrics={"status": status})
    (group,) = group_runs(find_runs([tmp_path]))
    assert [run.path.name for run in group.runs] == ["a"]


def labels(folder):
    return sorted(group.label for group in group_runs(find_runs([folder])))


def test_labels_contain_only_independent_differences(tmp_path):
    number = 0
    for hidden in (100, 200):
        for dropout in (0.2, 0.5):
            for seed in (0, 1):
                changes = {"model__hidden_dim": hidden, "model__core__hidden_dim": hidden, "model__dropout": dropout}
                make_run(tmp_path / str(number), seed, **changes, model__core__dropout=dropout)
                number += 1
    assert labels(tmp_path) == [
        f"lightrnn-ptb hidden_dim={hidden} dropout={dropout}" for hidden in (100, 200) for dropout in (0.2, 0.5)
    ]


def test_labels_contain_all_values_that_differ(tmp_path):
    """In a random search, either value alone would distinguish the trials."""
    make_run(tmp_path / "a", optimizer__lr=0.11, model__dropout=0.31)
    make_run(tmp_path / "b", optimizer__lr=0.12, model__dropout=0.32)
    assert labels(tmp_path) == ["lightrnn-ptb dropout=0.31 lr=0.11", "lightrnn-ptb dropout=0.32 lr=0.12"]


def test_labels_name_the_class_without_settings_of_other_classes(tmp_path):
    target = "lightrnn_pl.allocation.initial.frequency.FrequencyAllocation"
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", allocation={"_target_": target, "by": "rows"})
    make_run(tmp_path / "c", allocation={"_target_": target, "by": "columns"})
    assert labels(tmp_path) == [
        "lightrnn-ptb allocation=FrequencyAllocation by=columns",
        "lightrnn-ptb allocation=FrequencyAllocation by=rows",
        "lightrnn-ptb allocation=RandomAllocation",
    ]


def test_labels_prefer_overrides_to_derived_values(tmp_path):
    for hidden in (100, 200):
        changes = {"model__embedding_dim": hidden, "model__core__hidden_dim": hidden}
        make_run(tmp_path / str(hidden), **changes, metrics={"overrides": [f"model.core.hidden_dim={hidden}"]})
    assert labels(tmp_path) == ["lightrnn-ptb hidden_dim=100", "lightrnn-ptb hidden_dim=200"]


def test_labels_omit_keys_that_older_runs_lack(tmp_path):
    make_run(tmp_path / "a", model__hidden_dim=100)
    make_run(tmp_path / "b", model__hidden_dim=300, model__tied=False)
    assert labels(tmp_path) == ["lightrnn-ptb hidden_dim=100", "lightrnn-ptb hidden_dim=300"]


def test_labels_contain_missing_keys_if_nothing_else_differs(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", trainer__max_steps=7)
    assert labels(tmp_path) == ["lightrnn-ptb", "lightrnn-ptb max_steps=7"]


def test_points_of_a_curve_are_sorted_by_name(tmp_path):
    for number, ratio in enumerate((512, 8, 64)):
        paper = {"table": "slim_figure2", "row": f"SE 1/{ratio}", "scale": "paper"}
        make_run(tmp_path / str(number), model__embedding__compression=1 / ratio, paper=paper)
    assert [group.label for group in group_runs(find_runs([tmp_path]))] == ["SE 1/8", "SE 1/64", "SE 1/512"]


def test_labels_distinguish_corpora_of_the_same_file_name(tmp_path):
    make_run(tmp_path / "a", name="light")
    tokens = {"tokens": {"train": 2_088_628, "valid": 217_646, "test": 245_569}}
    make_run(tmp_path / "b", name="light", data__train="/home/someone/wikitext2/train.txt", metrics=tokens)
    assert labels(tmp_path) == ["light tokens=2088628", "light tokens=929589"]


def test_labels_contain_the_names_of_corpora(tmp_path):
    make_run(tmp_path / "a", name="light")
    tokens = {"tokens": {"train": 2_088_628, "valid": 217_646, "test": 245_569}}
    make_run(tmp_path / "b", name="light", data__name="wikitext2", data__train="wikitext2/train.txt", metrics=tokens)
    assert labels(tmp_path) == ["light data=ptb", "light data=wikitext2"]


def test_groups_are_labeled_and_ordered_as_in_the_paper(tmp_path):
    for number, row in enumerate(("SE 10K", "NE", "SE 20K")):
        paper = {"table": "slim_table2", "row": row, "scale": "small"}
        make_run(tmp_path / str(number), model__dropout=number / 10, paper=paper)
    make_run(tmp_path / "9", name="mine")
    groups = group_runs(find_runs([tmp_path]))
    assert [group.label for group in groups] == ["NE", "SE 20K", "SE 10K", "mine"]
    assert [group.small for group in groups] == [True, True, True, False]
    assert groups[0].paper.perplexity == 89.54 and groups[3].paper is None


def test_labels_distinguish_tables_and_scales(tmp_path):
    for number, (table, scale, hidden) in enumerate(
        (("slim_table2", "paper", 300), ("slim_table3", "paper", 650), ("slim_table2", "small", 100))
    ):
        paper = {"table": table, "row": "NE", "scale": scale}
        make_run(tmp_path / str(number), model__hidden_dim=hidden, paper=paper)
    assert labels(tmp_path) == [
        "NE table=slim_table2 scale=paper",
        "NE table=slim_table2 scale=small",
        "NE table=slim_table3 scale=paper",
    ]


def test_labels_contain_the_chosen_option(tmp_path):
    """If a run has no record of its choices, or two classes share an option, the class is named instead."""
    solvers = {"auction": "lightrnn_pl.allocation.solvers.AuctionSolver", "keep": "lightrnn_pl.allocation.solvers.Keep"}
    for name, target in solvers.items():
        make_run(tmp_path / name, solver___target_=target)
        record_choices(tmp_path / name, solver=name, data="text")
    assert labels(tmp_path) == ["lightrnn-ptb solver=auction", "lightrnn-ptb solver=keep"]
    save_results(tmp_path / "kept", find_runs([tmp_path]), [])
    assert labels(tmp_path / "kept") == ["lightrnn-ptb solver=auction", "lightrnn-ptb solver=keep"]
    record_choices(tmp_path / "auction", solver="keep")
    assert labels(tmp_path) == ["lightrnn-ptb solver=AuctionSolver", "lightrnn-ptb solver=Keep"]


def record_choices(run, **choices):
    (run / ".hydra").mkdir(exist_ok=True)
    content = {"hydra": {"runtime": {"choices": {**choices, "hydra/launcher": "basic", "debug": None}}}}
    OmegaConf.save(OmegaConf.create(content), run / ".hydra" / "hydra.yaml")
