"""Error messages of commands: one line for expected errors, without the number of errors raised by this package."""

import errno

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

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
