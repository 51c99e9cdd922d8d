import statistics

import pytest
from omegaconf import OmegaConf

from lightrnn_pl.reporting.results_folder import keep
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


def test_a_table_drawn_anew_is_another_seed_too(tmp_path):
    """seed=0 with two tables, and seed=1 with the first of them."""
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", allocation__seed=5)
    make_run(tmp_path / "c", seed=1, allocation__seed=0)
    (group,) = group_runs(find_runs([tmp_path]))
    assert len(group.runs) == 3


def test_one_number_has_no_spread():
    assert Spread.of([3.0]) == Spread(3.0, None, 1)
    assert Spread.of([None, 3.0, float("nan"), 5.0]) == Spread(4.0, pytest.approx(2**0.5), 2)
    assert Spread.of([None]) is None


def test_folders_and_loggers_make_no_other_model(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", seed=1, paths__run_dir="/elsewhere/b", data__root="/elsewhere", logger__csv={"x": 1})
    make_run(tmp_path / "c", seed=2, data__train="/elsewhere/data/ptb/train.txt")
    (group,) = group_runs(find_runs([tmp_path]))
    assert len(group.runs) == 3


def test_the_same_run_twice_counts_once(tmp_path):
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


def test_labels_say_what_differs_and_nothing_twice(tmp_path):
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


def test_values_that_differ_together_are_all_told(tmp_path):
    """A random search: any of the two would do to tell the trials apart."""
    make_run(tmp_path / "a", optimizer__lr=0.11, model__dropout=0.31)
    make_run(tmp_path / "b", optimizer__lr=0.12, model__dropout=0.32)
    assert labels(tmp_path) == ["lightrnn-ptb dropout=0.31 lr=0.11", "lightrnn-ptb dropout=0.32 lr=0.12"]


def test_a_part_of_another_kind_is_named_by_its_class_alone(tmp_path):
    target = "lightrnn_pl.allocation.initial.frequency.FrequencyAllocation"
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", allocation={"_target_": target, "by": "rows"})
    make_run(tmp_path / "c", allocation={"_target_": target, "by": "columns"})
    assert labels(tmp_path) == [
        "lightrnn-ptb allocation=FrequencyAllocation by=columns",
        "lightrnn-ptb allocation=FrequencyAllocation by=rows",
        "lightrnn-ptb allocation=RandomAllocation",
    ]


def test_what_was_typed_is_told_rather_than_what_followed_from_it(tmp_path):
    for hidden in (100, 200):
        changes = {"model__embedding_dim": hidden, "model__core__hidden_dim": hidden}
        make_run(tmp_path / str(hidden), **changes, metrics={"overrides": [f"model.core.hidden_dim={hidden}"]})
    assert labels(tmp_path) == ["lightrnn-ptb hidden_dim=100", "lightrnn-ptb hidden_dim=200"]


def test_what_older_code_did_not_know_is_no_part_of_a_label(tmp_path):
    make_run(tmp_path / "a", model__hidden_dim=100)
    make_run(tmp_path / "b", model__hidden_dim=300, model__tied=False)
    assert labels(tmp_path) == ["lightrnn-ptb hidden_dim=100", "lightrnn-ptb hidden_dim=300"]


def test_unless_nothing_else_tells_runs_apart(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", trainer__max_steps=7)
    assert labels(tmp_path) == ["lightrnn-ptb", "lightrnn-ptb max_steps=7"]


def test_points_of_a_curve_come_in_the_order_of_their_names(tmp_path):
    for number, ratio in enumerate((512, 8, 64)):
        paper = {"table": "slim_figure2", "row": f"SE 1/{ratio}", "scale": "paper"}
        make_run(tmp_path / str(number), model__embedding__compression=1 / ratio, paper=paper)
    assert [group.label for group in group_runs(find_runs([tmp_path]))] == ["SE 1/8", "SE 1/64", "SE 1/512"]


def test_two_corpora_of_one_file_name_are_two(tmp_path):
    make_run(tmp_path / "a", name="light")
    tokens = {"tokens": {"train": 2_088_628, "valid": 217_646, "test": 245_569}}
    make_run(tmp_path / "b", name="light", data__train="/home/someone/wikitext2/train.txt", metrics=tokens)
    assert labels(tmp_path) == ["light tokens=2088628", "light tokens=929589"]


def test_corpora_are_told_by_their_names(tmp_path):
    make_run(tmp_path / "a", name="light")
    tokens = {"tokens": {"train": 2_088_628, "valid": 217_646, "test": 245_569}}
    make_run(tmp_path / "b", name="light", data__name="wikitext2", data__train="wikitext2/train.txt", metrics=tokens)
    assert labels(tmp_path) == ["light data=ptb", "light data=wikitext2"]


def test_groups_are_called_and_ordered_as_in_the_paper(tmp_path):
    for number, row in enumerate(("SE 10K", "NE", "SE 20K")):
        paper = {"table": "slim_table2", "row": row, "scale": "small"}
        make_run(tmp_path / str(number), model__dropout=number / 10, paper=paper)
    make_run(tmp_path / "9", name="mine")
    groups = group_runs(find_runs([tmp_path]))
    assert [group.label for group in groups] == ["NE", "SE 20K", "SE 10K", "mine"]
    assert [group.small for group in groups] == [True, True, True, False]
    assert groups[0].paper.perplexity == 89.54 and groups[3].paper is None


def test_one_row_in_two_tables_and_two_scales(tmp_path):
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


def test_a_kind_is_called_by_the_option_that_was_chosen(tmp_path):
    """Hydra records it; if a run has no record, or two classes share one option, the class distinguishes them."""
    solvers = {"auction": "lightrnn_pl.allocation.solvers.AuctionSolver", "keep": "lightrnn_pl.allocation.solvers.Keep"}
    for name, target in solvers.items():
        make_run(tmp_path / name, solver___target_=target)
        note_choices(tmp_path / name, solver=name, data="text")
    assert labels(tmp_path) == ["lightrnn-ptb solver=auction", "lightrnn-ptb solver=keep"]
    keep(tmp_path / "kept", find_runs([tmp_path]), [])
    assert labels(tmp_path / "kept") == ["lightrnn-ptb solver=auction", "lightrnn-ptb solver=keep"]
    note_choices(tmp_path / "auction", solver="keep")
    assert labels(tmp_path) == ["lightrnn-ptb solver=AuctionSolver", "lightrnn-ptb solver=Keep"]


def note_choices(run, **choices):
    (run / ".hydra").mkdir(exist_ok=True)
    noted = {"hydra": {"runtime": {"choices": {**choices, "hydra/launcher": "basic", "debug": None}}}}
    OmegaConf.save(OmegaConf.create(noted), run / ".hydra" / "hydra.yaml")
