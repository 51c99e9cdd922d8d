import json

import pytest

from lightrnn_pl.reporting.runs import find_runs, read_run
from tests.reporting.folders import make_run


def test_finds_the_runs_of_a_sweep_in_order_and_each_once(tmp_path):
    for number in (10, 2, 0):
        make_run(tmp_path / "sweep" / str(number), seed=number)
    runs = find_runs([tmp_path / "sweep", tmp_path / "sweep" / "2"])
    assert [run.path.name for run in runs] == ["0", "2", "10"]
    assert [run.seed for run in runs] == [0, 2, 10]
    assert runs[0].status == "completed" and runs[0].error is None
    assert runs[0].config["model"]["hidden_dim"] == 200 and runs[0].metrics["test"]["perplexity"] == 100


def test_a_run_folder_itself_may_be_given(tmp_path):
    (run,) = find_runs([make_run(tmp_path / "a")])
    assert run.name == "lightrnn-ptb"


def test_what_loggers_leave_in_a_run_is_no_run(tmp_path):
    run = make_run(tmp_path / "a")
    (run / "wandb" / "offline-run" / "files").mkdir(parents=True)
    (run / "wandb" / "offline-run" / "files" / "config.yaml").write_text("wandb_version: 1\n")
    (tmp_path / "wandb" / "files").mkdir(parents=True)
    (tmp_path / "wandb" / "files" / "config.yaml").write_text("wandb_version: 1\n")
    assert len(find_runs([tmp_path])) == 1


def test_overrides_come_from_hydras_note(tmp_path):
    run = make_run(tmp_path / "a")
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text("name: ${hydra:runtime.choices.model}-x\n")
    (run / ".hydra" / "overrides.yaml").write_text("- seed=1\n- model.hidden_dim=200\n")
    assert find_runs([tmp_path])[0].overrides == ("seed=1", "model.hidden_dim=200")


def test_a_job_that_died_before_it_wrote_anything_is_found(tmp_path):
    (tmp_path / "3" / ".hydra").mkdir(parents=True)
    (tmp_path / "3" / ".hydra" / "config.yaml").write_text("name: ${hydra:runtime.choices.model}-x\nseed: 7\n")
    (tmp_path / "3" / ".hydra" / "overrides.yaml").write_text("- seed=7\n")
    (run,) = find_runs([tmp_path])
    assert (run.status, run.name, run.seed, run.overrides) == ("started", "3", 7, ("seed=7",))


def test_a_sweep_knows_why_a_job_died_before_it_wrote_anything(tmp_path):
    job = tmp_path / "3"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "overrides.yaml").write_text("- seed=7\n")
    (tmp_path / ".jobs").mkdir()
    for number, folder in ((0, tmp_path / "0"), (3, job)):
        note = {"job": number, "status": "failed", "error": f"job {number}", "folder": str(folder), "overrides": []}
        (tmp_path / ".jobs" / f"{number}.json").write_text(json.dumps(note))
    (run,) = find_runs([tmp_path])
    assert (run.status, run.error) == ("failed", "job 3")


def test_a_failed_run_says_why(tmp_path):
    (tmp_path / "a").mkdir()
    told = {"status": "failed", "name": "x", "seed": 1, "error": "ValueError: no such text"}
    (tmp_path / "a" / "metrics.json").write_text(json.dumps(told))
    (run,) = find_runs([tmp_path])
    assert (run.status, run.error, run.seed, run.config) == ("failed", "ValueError: no such text", 1, {})


@pytest.mark.parametrize("content", ["{", "[1]", "\xff"])
def test_a_broken_file_stops_nothing(tmp_path, content):
    make_run(tmp_path / "a")
    (make_run(tmp_path / "b") / "metrics.json").write_bytes(content.encode("latin1"))
    runs = find_runs([tmp_path])
    assert [run.status for run in runs] == ["completed", "unreadable"]
    assert runs[1].error


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_runs([tmp_path / "nowhere"])


def test_a_link_to_a_run_is_the_run(tmp_path):
    run = make_run(tmp_path / "a")
    (tmp_path / "latest").symlink_to(run)
    assert len(find_runs([tmp_path, tmp_path / "latest"])) == 1
    assert read_run(tmp_path / "latest").name == "lightrnn-ptb"
