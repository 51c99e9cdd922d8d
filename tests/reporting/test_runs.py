import json

import pytest

from lightrnn_pl.reporting.runs import find_runs, read_run
from tests.reporting.folders import make_run


def test_finds_each_run_of_a_sweep_once_in_natural_order(tmp_path):
    for number in (10, 2, 0):
        make_run(tmp_path / "sweep" / str(number), seed=number)
    runs = find_runs([tmp_path / "sweep", tmp_path / "sweep" / "2"])
    assert [run.path.name for run in runs] == ["0", "2", "10"]
    assert [run.seed for run in runs] == [0, 2, 10]
    assert runs[0].status == "completed" and runs[0].error is None
    assert runs[0].config["model"]["hidden_dim"] == 200 and runs[0].metrics["test"]["perplexity"] == 100


def test_accepts_a_run_folder_itself(tmp_path):
    (run,) = find_runs([make_run(tmp_path / "a")])
    assert run.name == "lightrnn-ptb"


def test_ignores_the_folders_of_wandb(tmp_path):
    run = make_run(tmp_path / "a")
    (run / "wandb" / "offline-run" / "files").mkdir(parents=True)
    (run / "wandb" / "offline-run" / "files" / "config.yaml").write_text("wandb_version: 1\n")
    (tmp_path / "wandb" / "files").mkdir(parents=True)
    (tmp_path / "wandb" / "files" / "config.yaml").write_text("wandb_version: 1\n")
    assert len(find_runs([tmp_path])) == 1


def test_overrides_of_a_command_that_was_refused_in_the_folder_are_not_those_of_the_run(tmp_path):
    recorded = {"overrides": ["seed=1"], "choices": {"model": "slim"}}
    run = make_run(tmp_path / "run", metrics=recorded)
    (run / ".hydra").mkdir(exist_ok=True)
    (run / ".hydra" / "overrides.yaml").write_text("- model.hidden_dim=999\n")
    (run / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {model: full}}}")
    (found,) = find_runs([tmp_path])
    assert found.overrides == ("seed=1",) and found.choices == {"model": "slim"}


def test_reads_overrides_from_hydras_files(tmp_path):
    run = make_run(tmp_path / "a")
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text("name: ${hydra:runtime.choices.model}-x\n")
    (run / ".hydra" / "overrides.yaml").write_text("- seed=1\n- model.hidden_dim=200\n")
    assert find_runs([tmp_path])[0].overrides == ("seed=1", "model.hidden_dim=200")


def test_finds_a_job_that_was_killed_before_its_first_metrics(tmp_path):
    (tmp_path / "3" / ".hydra").mkdir(parents=True)
    (tmp_path / "3" / ".hydra" / "config.yaml").write_text("name: ${hydra:runtime.choices.model}-x\nseed: 7\n")
    (tmp_path / "3" / ".hydra" / "overrides.yaml").write_text("- seed=7\n")
    (run,) = find_runs([tmp_path])
    assert (run.status, run.name, run.seed, run.overrides) == ("started", "3", 7, ("seed=7",))


def test_reads_the_error_of_a_job_from_the_records_of_its_sweep(tmp_path):
    job = tmp_path / "3"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "overrides.yaml").write_text("- seed=7\n")
    (tmp_path / ".jobs").mkdir()
    for number, folder in ((0, tmp_path / "0"), (3, job)):
        record = {"job": number, "status": "failed", "error": f"job {number}", "folder": str(folder), "overrides": []}
        (tmp_path / ".jobs" / f"{number}.json").write_text(json.dumps(record))
    (run,) = find_runs([tmp_path])
    assert (run.status, run.error) == ("failed", "job 3")


def test_reads_the_error_of_a_failed_run(tmp_path):
    (tmp_path / "a").mkdir()
    metrics = {"status": "failed", "name": "x", "seed": 1, "error": "ValueError: no such text"}
    (tmp_path / "a" / "metrics.json").write_text(json.dumps(metrics))
    (run,) = find_runs([tmp_path])
    assert (run.status, run.error, run.seed, run.config) == ("failed", "ValueError: no such text", 1, {})


@pytest.mark.parametrize("content", ["{", "[1]", "\xff"])
def test_a_broken_file_makes_only_its_run_unreadable(tmp_path, content):
    make_run(tmp_path / "a")
    (make_run(tmp_path / "b") / "metrics.json").write_bytes(content.encode("latin1"))
    runs = find_runs([tmp_path])
    assert [run.status for run in runs] == ["completed", "unreadable"]
    assert runs[1].error


def test_rejects_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_runs([tmp_path / "nowhere"])


def test_a_symbolic_link_is_the_same_run(tmp_path):
    run = make_run(tmp_path / "a")
    (tmp_path / "latest").symlink_to(run)
    assert len(find_runs([tmp_path, tmp_path / "latest"])) == 1
    assert read_run(tmp_path / "latest").name == "lightrnn-ptb"
