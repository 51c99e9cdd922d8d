"""Loggers that resume interrupted runs."""

import csv
import time

import pytest

from lightrnn_pl.training.tracking.loggers import (
    AppendingCSVLogger,
    RunFolderTensorBoardLogger,
    RunFolderWandbLogger,
    wandb_run_id,
)


def log(folder, *logged, **options):
    logger = AppendingCSVLogger(str(folder), name="", version="csv", flush_logs_every_n_steps=1, **options)
    for step, metrics in logged:
        logger.log_metrics(metrics, step)
    logger.finalize("success")


def rows(folder):
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def test_a_resumed_csv_file_continues(tmp_path):
    log(tmp_path, (9, {"b": 1.0}), (19, {"b": 2.0}), (29, {"b": 3.0}))
    log(tmp_path, (19, {"b": 2.5}), (20, {"a": 7.0, "c": 8.0}))
    log(tmp_path, (29, {"b": 3.5}))
    assert rows(tmp_path) == [
        {"step": 9, "b": 1},
        {"step": 19, "b": 2.5},
        {"step": 20, "a": 7, "c": 8},
        {"step": 29, "b": 3.5},
    ]


def test_an_incomplete_row_is_dropped(tmp_path):
    log(tmp_path, (9, {"b": 1.0}))
    with (tmp_path / "csv" / "metrics.csv").open("a") as file:
        file.write("2.0,1")
    log(tmp_path, (29, {"b": 3.0}))
    assert rows(tmp_path) == [{"step": 9, "b": 1}, {"step": 29, "b": 3}]


def test_resume_false_deletes_all_rows(tmp_path):
    log(tmp_path, (9, {"b": 1.0}))
    log(tmp_path, (19, {"c": 2.0}), resume=False)
    assert rows(tmp_path) == [{"step": 19, "c": 2}]
    log(tmp_path, (9, {"d": 3.0}))
    assert rows(tmp_path) == [{"step": 9, "d": 3}]


def test_a_run_that_logs_nothing_keeps_the_file(tmp_path):
    log(tmp_path, (9, {"b": 1.0}))
    log(tmp_path)
    assert rows(tmp_path) == [{"step": 9, "b": 1}]


def test_a_run_folder_keeps_its_wandb_run(tmp_path):
    first = wandb_run_id(tmp_path / "run")
    assert len(first) == 8
    assert wandb_run_id(tmp_path / "run") == first != wandb_run_id(tmp_path / "another")
    assert wandb_run_id(tmp_path / "run", resume=False) != first


@pytest.mark.parametrize("resume", [True, False])
def test_the_wandb_logger_resumes_the_run_of_its_folder(tmp_path, resume):
    first = RunFolderWandbLogger(str(tmp_path), project="test")
    second = RunFolderWandbLogger(str(tmp_path), resume=resume, project="test")
    assert (first.version == second.version) is resume
    assert second._wandb_init["resume"] == "allow" and second._wandb_init["project"] == "test"


def write_events(folder, *logged, **options):
    pytest.importorskip("tensorboard")
    logger = RunFolderTensorBoardLogger(str(folder), name="", version="tensorboard", **options)
    for step, metrics in logged:
        logger.log_metrics(metrics, step)
    logger.log_results({})


def read_events(folder):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return {name: {event.step: event.value for event in board.Scalars(name)} for name in board.Tags()["scalars"]}


def test_resumed_events_replace_those_after_the_checkpoint(tmp_path):
    write_events(tmp_path, (9, {"b": 1.0}), (19, {"b": 2.0}), (29, {"b": 3.0}))
    time.sleep(1.1)  # the names of event files have a resolution of one second
    write_events(tmp_path, (19, {"b": 2.5}))
    assert read_events(tmp_path) == {"b": {9: 1, 19: 2.5}}


def test_resume_false_deletes_all_events(tmp_path):
    write_events(tmp_path, (9, {"b": 1.0}))
    write_events(tmp_path, (19, {"c": 2.0}), resume=False)
    assert read_events(tmp_path) == {"c": {19: 2}}


def test_tables_are_markdown_for_tensorboard(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = RunFolderTensorBoardLogger(str(tmp_path), name="", version="tensorboard")
    logger.log_rows("t", ["a", "b"], [["x|y", 1.23456789], [None, 2]], 3)
    logger.log_results({"status": "failed"})
    board = events.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    (event,) = board.Tensors("t/text_summary")
    assert event.step == 3
    lines = event.tensor_proto.string_val[0].decode().splitlines()
    assert lines == ["| a | b |", "| --- | --- |", "| x\\|y | 1.23457 |", "|  | 2 |"]
