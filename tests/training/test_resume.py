"""A run killed with SIGKILL at the worst moments ends in the same bits as one that was not."""

import shutil
from pathlib import Path

import pytest
import torch

from lightrnn_pl.allocation.initial.cooccurrence import CooccurrenceAllocation
from lightrnn_pl.training.experiment import train
from tests.training import runs

OVERRIDES = [
    *("resume_point.every_steps=10", "schedule.decay=0.5", "optimizer.lr=0.5"),
    *("reallocation.max_rounds=3", "reallocation.epochs_per_round=2", "reallocation.patience=9"),
]


def last_state(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "last.ckpt", weights_only=True)["state_dict"]


def best_state(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "best.ckpt", weights_only=True)["state"]


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.fixture(scope="module", params=["sgd"])
def optimizer(request) -> list[str]:
    return {
        "sgd": [],
        "adam": ["optimizer=adam", "reallocation.optimizer_state=keep"],
        # Windows whose gradients wait for the next ones; files are never due at the end of such a group by chance.
        "accumulate": ["trainer.accumulate_grad_batches=3", "resume_point.every_steps=2"],
    }[request.param]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny_text, optimizer):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    return run_dir, train(runs.compose_run(run_dir, tiny_text, *OVERRIDES, *optimizer))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "moment"),
    [
        ("accumulate", "write=3"),
        ("sgd", "step=35"),
        ("sgd", "step=111"),
        ("sgd", "reallocation"),
        ("sgd", "write=3"),
        ("adam", "step=111"),
    ],
    indirect=["optimizer"],
)
def test_a_killed_run_ends_in_the_same_bits(moment, uninterrupted, optimizer, tiny_text, tmp_path):
    whole_dir, whole = uninterrupted
    assert len(whole["rounds"]) == 3 and whole["rounds"][0]["reallocation"]["words_moved"] > 0
    run_dir = tmp_path / "run"
    config = runs.compose_run(run_dir, tiny_text, *OVERRIDES, *optimizer)
    runs.kill_run(moment, run_dir, tiny_text, *OVERRIDES, *optimizer)
    resumed = train(config)
    assert_same_bits(last_state(run_dir), last_state(whole_dir))
    assert_same_bits(best_state(run_dir), best_state(whole_dir))
    for key in ("test", "validation", "table"):
        assert resumed[key] == whole[key]
    for done, expected in zip(resumed["rounds"], whole["rounds"], strict=True):
        assert done["validations"] == expected["validations"] and done["epochs"] == expected["epochs"]
    assert [line["step"] for line in resumed["history"]] == [line["step"] for line in whole["history"]]


def test_a_run_that_goes_on_does_not_make_its_first_table_again(tiny_text, tmp_path, monkeypatch):
    overrides = [*OVERRIDES, "allocation=cooccurrence"]
    whole = train(runs.compose_run(tmp_path / "whole", tiny_text, *overrides))
    runs.kill_run("step=35", tmp_path / "run", tiny_text, *overrides)
    monkeypatch.setattr(CooccurrenceAllocation, "__call__", lambda *args, **kwargs: pytest.fail("made again"))
    resumed = train(runs.compose_run(tmp_path / "run", tiny_text, *overrides))
    assert_same_bits(last_state(tmp_path / "run"), last_state(tmp_path / "whole"))
    assert resumed["table"] == whole["table"] and resumed["test"] == whole["test"]


def test_a_complete_run_is_not_repeated(uninterrupted, optimizer, tiny_text, monkeypatch):
    run_dir, whole = uninterrupted
    written = (run_dir / "best.ckpt").stat().st_mtime_ns
    again = train(runs.compose_run(run_dir, tiny_text, *OVERRIDES, *optimizer))
    assert again["test"] == whole["test"]
    assert (run_dir / "best.ckpt").stat().st_mtime_ns == written


def test_another_configuration_in_the_same_folder_is_refused(uninterrupted, optimizer, tiny_text):
    run_dir, _ = uninterrupted
    with pytest.raises(
        ValueError, match=r"a different configuration \(.*model.hidden_dim\); pass another hydra.run.dir"
    ):
        train(runs.compose_run(run_dir, tiny_text, *OVERRIDES, *optimizer, "model.hidden_dim=9"))


def test_a_damaged_resume_point_is_named_with_the_remedy(uninterrupted, optimizer, tiny_text, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(uninterrupted[0], run_dir)
    (run_dir / "config.yaml").unlink()
    (run_dir / "metrics.json").unlink()
    content = (run_dir / "last.ckpt").read_bytes()
    (run_dir / "last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"last.ckpt is damaged, .* remove it to start the run over"):
        train(runs.compose_run(run_dir, tiny_text, *OVERRIDES, *optimizer))
