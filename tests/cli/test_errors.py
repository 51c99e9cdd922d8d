"""Error messages of commands: one line for expected errors, without the number of errors raised by this package."""

import errno
import os
import sys

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightrnn_pl.cli.entry_points import report, train
from lightrnn_pl.cli.errors import one_line, one_line_errors


def test_errors_of_the_configuration_are_one_line():
    config = OmegaConf.create({"data": {"id": "???", "name": "hub-${.id}"}, "a": "${b}"})
    OmegaConf.set_struct(config, True)
    for access, expected in (
        (lambda: config.data.id, "data.id is required; pass data.id=..."),
        (lambda: config.data.name, "data.id is required; pass data.id=..."),
        (lambda: config.data.path, "data.path: Key 'path' is not in struct"),
        (lambda: config.a, "a: Interpolation key 'b' not found"),
    ):
        with pytest.raises(OmegaConfBaseException) as caught:
            access()
        assert one_line(caught.value) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("k must be larger"), "error: k must be larger\n"),
        (OSError(errno.EADDRINUSE, "port=80 is taken"), "error: port=80 is taken\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), "error: [Errno 2] No such file: 'a.txt'\n"),
        # A broken pipe other than standard output, such as that of a worker process.
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "error: Broken pipe\n"),
    ],
)
def test_expected_errors_are_one_line(capfd, error, expected):
    @one_line_errors
    def command(config):
        raise error

    with pytest.raises(SystemExit) as end:
        command(None)
    assert end.value.code == 2 and capfd.readouterr().err == expected


def test_unexpected_errors_are_raised():
    @one_line_errors
    def command(config):
        raise RuntimeError("unexpected")

    with pytest.raises(RuntimeError, match="unexpected"):
        command(None)


@pytest.mark.parametrize("arguments", [("hydra.run.dir={}",), ("-m", "seed=0,1", "hydra.sweep.dir={}")])
def test_a_run_folder_that_cannot_be_created_is_named_in_one_line(arguments, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    monkeypatch.setattr(sys, "argv", ["lightrnn-train", *(argument.format(folder) for argument in arguments)])
    with pytest.raises(SystemExit) as end:
        train()
    expected = f"error: cannot write {folder}: {os.strerror(errno.ENOTDIR)}; choose another folder"
    assert end.value.code == 2 and capfd.readouterr().err.startswith(expected)


def test_a_full_disk_is_named_in_one_line_before_the_command_starts(tmp_path, monkeypatch, capfd):
    def save(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hydra.core.utils._save_config", save)
    monkeypatch.setattr(sys, "argv", ["lightrnn-train", f"hydra.run.dir={tmp_path}"])
    with pytest.raises(SystemExit) as end:
        train()
    printed = capfd.readouterr().err
    assert end.value.code == 2 and printed.count("\n") == 1
    assert printed.startswith("error: no space left while writing the run folder; free some space")


def test_a_terminal_shows_at_once_that_the_command_has_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lightrnn-report", str(tmp_path / "missing")])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(SystemExit):
        report()
    assert capsys.readouterr().err.startswith("loading PyTorch\nerror: ")
