"""What ends a command: a line for what a user can mend, without the number of an error that is our own to tell."""

import errno

import pytest

from lightrnn_pl.cli.errors import one_line_errors


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("k must be larger"), "error: k must be larger\n"),
        (OSError(errno.EADDRINUSE, "port=80 is taken"), "error: port=80 is taken\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), "error: [Errno 2] No such file: 'a.txt'\n"),
        # A worker's pipe, say: standard output is still read.
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "error: Broken pipe\n"),
    ],
)
def test_an_expected_error_is_one_line(capfd, error, told):
    @one_line_errors
    def command(config):
        raise error

    with pytest.raises(SystemExit) as end:
        command(None)
    assert end.value.code == 2 and capfd.readouterr().err == told


def test_other_errors_show_where_they_came_from():
    @one_line_errors
    def command(config):
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="ours"):
        command(None)
