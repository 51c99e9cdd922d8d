import json

import pytest

from lightrnn_pl.reporting.measurements import find_measurements
from lightrnn_pl.reporting.results_folder import keep, places_of
from lightrnn_pl.reporting.runs import find_runs
from tests.reporting.folders import make_run


def test_places_are_seen_from_the_folder_that_holds_them_all(tmp_path):
    for name in ("one/0", "one/1", "two/deep/0"):
        make_run(tmp_path / name)
    (tmp_path / "two" / "kn.json").write_text(
        json.dumps([{"output": "full", "phase": "inference", "seconds": 1.0}]), encoding="utf-8"
    )
    runs, files = places_of(find_runs([tmp_path]), find_measurements([tmp_path]))
    assert [str(place) for place in (*runs, *files)] == ["one/0", "one/1", "two/deep/0", "two/kn.json"]
    assert places_of(find_runs([tmp_path / "one" / "1"]))[0][0].name == "1"
    assert places_of([]) == ([], [])


def test_what_is_kept_tells_of_no_machine(tmp_path):
    error = "FileNotFoundError: there is no text at /home/someone/x/train.txt"
    run = make_run(tmp_path / "runs" / "0", metrics={"status": "failed", "error": error})
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text("- data.train=/home/someone/ptb/train.txt\n- seed=0\n")
    (run / "best.ckpt").write_bytes(b"weights")
    keep(tmp_path / "kept", find_runs([tmp_path / "runs"]), [])
    kept = tmp_path / "kept" / "0"
    assert {path.name for path in kept.iterdir()} == {"config.yaml", "metrics.json"}
    for path in kept.iterdir():
        assert "someone" not in path.read_text() and "/home" not in path.read_text()
    (again,) = find_runs([tmp_path / "kept"])
    assert again.overrides == ("data.train=train.txt", "seed=0") and again.config["data"]["train"] == "train.txt"
    assert again.error == "FileNotFoundError: there is no text at train.txt"


def test_a_job_without_metrics_is_kept_as_such(tmp_path):
    (make_run(tmp_path / "runs" / "0") / "metrics.json").unlink()
    keep(tmp_path / "kept", find_runs([tmp_path / "runs"]), [])
    assert [run.status for run in find_runs([tmp_path / "kept"])] == ["started"]


def test_what_only_the_sweep_knows_is_kept_too(tmp_path):
    job = tmp_path / "sweep" / "3"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "overrides.yaml").write_text("- seed=7\n")
    (tmp_path / "sweep" / ".jobs").mkdir()
    note = {"job": 3, "status": "failed", "error": "no text at /home/someone/x", "folder": str(job), "overrides": []}
    (tmp_path / "sweep" / ".jobs" / "3.json").write_text(json.dumps(note))
    keep(tmp_path / "kept", find_runs([tmp_path / "sweep"]), [])
    (run,) = find_runs([tmp_path / "kept"])
    assert (run.status, run.error, run.overrides) == ("failed", "no text at x", ("seed=7",))


def test_keeping_again_refreshes_and_refuses_strangers(tmp_path):
    make_run(tmp_path / "runs" / "0", test=100)
    runs = find_runs([tmp_path / "runs"])
    keep(tmp_path / "kept", runs, [])
    make_run(tmp_path / "more" / "1", seed=1)
    keep(tmp_path / "kept", runs, [])
    with pytest.raises(ValueError, match="holds other runs"):
        keep(tmp_path / "kept", find_runs([tmp_path / "more"]), [])


def test_runs_are_not_kept_over_themselves(tmp_path):
    make_run(tmp_path / "runs" / "0")
    before = (tmp_path / "runs" / "0" / "config.yaml").read_text()
    with pytest.raises(ValueError, match="give another folder"):
        keep(tmp_path / "runs", find_runs([tmp_path / "runs"]), [])
    assert (tmp_path / "runs" / "0" / "config.yaml").read_text() == before
