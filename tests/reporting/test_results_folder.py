import json

import pytest

from lightrnn_pl.reporting.measurements import find_measurements
from lightrnn_pl.reporting.results_folder import relative_paths, save_results
from lightrnn_pl.reporting.runs import find_runs
from tests.reporting.folders import make_run


def test_paths_are_relative_to_the_deepest_common_folder(tmp_path):
    for name in ("one/0", "one/1", "two/deep/0"):
        make_run(tmp_path / name)
    (tmp_path / "two" / "kn.json").write_text(
        json.dumps([{"output": "full", "phase": "inference", "seconds": 1.0}]), encoding="utf-8"
    )
    runs, files = relative_paths(find_runs([tmp_path]), find_measurements([tmp_path]))
    assert [str(path) for path in (*runs, *files)] == ["one/0", "one/1", "two/deep/0", "two/kn.json"]
    assert relative_paths(find_runs([tmp_path / "one" / "1"]))[0][0].name == "1"
    assert relative_paths([]) == ([], [])


def test_saved_results_contain_no_paths_of_the_machine(tmp_path):
    error = "FileNotFoundError: text file /home/someone/x/train.txt does not exist"
    run = make_run(tmp_path / "runs" / "0", metrics={"status": "failed", "error": error})
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text("- data.train=/home/someone/ptb/train.txt\n- seed=0\n")
    (run / "best.ckpt").write_bytes(b"weights")
    save_results(tmp_path / "kept", find_runs([tmp_path / "runs"]), [])
    kept = tmp_path / "kept" / "0"
    assert {path.name for path in kept.iterdir()} == {"config.yaml", "metrics.json"}
    for path in kept.iterdir():
        assert "someone" not in path.read_text() and "/home" not in path.read_text()
    (saved,) = find_runs([tmp_path / "kept"])
    assert saved.overrides == ("data.train=train.txt", "seed=0") and saved.config["data"]["train"] == "train.txt"
    assert saved.error == "FileNotFoundError: text file train.txt does not exist"


def test_a_job_without_metrics_keeps_its_status(tmp_path):
    (make_run(tmp_path / "runs" / "0") / "metrics.json").unlink()
    save_results(tmp_path / "kept", find_runs([tmp_path / "runs"]), [])
    assert [run.status for run in find_runs([tmp_path / "kept"])] == ["started"]


def test_records_of_the_sweep_are_saved(tmp_path):
    job = tmp_path / "sweep" / "3"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "overrides.yaml").write_text("- seed=7\n")
    (tmp_path / "sweep" / ".jobs").mkdir()
    record = {
        "job": 3,
        "status": "failed",
        "error": "text file /home/someone/x does not exist",
        "folder": str(job),
        "overrides": [],
    }
    (tmp_path / "sweep" / ".jobs" / "3.json").write_text(json.dumps(record))
    save_results(tmp_path / "kept", find_runs([tmp_path / "sweep"]), [])
    (run,) = find_runs([tmp_path / "kept"])
    assert (run.status, run.error, run.overrides) == ("failed", "text file x does not exist", ("seed=7",))


def test_saving_again_updates_the_same_runs_and_rejects_others(tmp_path):
    make_run(tmp_path / "runs" / "0", test=100)
    runs = find_runs([tmp_path / "runs"])
    save_results(tmp_path / "kept", runs, [])
    make_run(tmp_path / "more" / "1", seed=1)
    save_results(tmp_path / "kept", runs, [])
    with pytest.raises(ValueError, match="contains other runs"):
        save_results(tmp_path / "kept", find_runs([tmp_path / "more"]), [])


def test_rejects_the_folder_of_the_runs_themselves(tmp_path):
    make_run(tmp_path / "runs" / "0")
    before = (tmp_path / "runs" / "0" / "config.yaml").read_text()
    with pytest.raises(ValueError, match="pass another folder"):
        save_results(tmp_path / "runs", find_runs([tmp_path / "runs"]), [])
    assert (tmp_path / "runs" / "0" / "config.yaml").read_text() == before
