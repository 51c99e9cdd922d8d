"""Runs ``lightrnn-*`` commands in processes that are forked from one that has imported everything.

Importing PyTorch and Lightning takes most of the time of a command that trains a tiny model.  A test that runs many
commands puts :func:`command_folder` first in PATH.  Each command is then a process of its own, with its arguments,
environment, working folder and output, but it starts without importing.  ``python`` runs scripts and modules likewise.
"""

import contextlib
import gc
import io
import json
import logging
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import jaxtyping
from lightning_fabric.utilities.rank_zero import _get_rank
from pytorch_lightning.utilities import rank_zero_only

from lightrnn_pl.cli import entry_points

COMMANDS = ("train", "evaluate", "table", "report", "rescore", "score", "generate", "export", "ngram", "dashboard")

# The system's Python starts a client within 20 ms: it imports only what is needed here.
_CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = dict(name={name!r}, arguments=sys.argv, folder=os.getcwd(), environment=dict(os.environ))
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall(json.dumps(request).encode() + b"\\n")
sys.exit(int(server.makefile().read()))
"""


@contextlib.contextmanager
def command_folder(folder: Path) -> Iterator[Path]:
    """A folder with ``lightrnn-train`` and the other ``COMMANDS``, which work as long as the context is open."""
    address = folder / "server"
    commands = folder / "bin"
    commands.mkdir()
    for name in (*COMMANDS, "python"):
        client = commands / (name if name == "python" else f"lightrnn-{name}")
        client.write_text(_CLIENT.format(python=sys.executable, address=str(address), name=name))
        client.chmod(0o755)
    server = multiprocessing.get_context("fork").Process(target=serve, args=(str(address),))
    server.start()
    try:
        while not address.exists():
            assert server.is_alive(), "the server has failed"
            time.sleep(0.05)
        yield commands
    finally:
        server.terminate()
        server.join()


def warm_up() -> None:
    """Import everything, train tiny models and report them, which fills caches that the commands then inherit.

    In a new process, the first training takes half a second more than the second one, and the first report two.
    """
    for name in set(COMMANDS) - {"dashboard"}:  # which only one test runs
        import_module(f"lightrnn_pl.commands.{name}")
    unused = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(unused),
        contextlib.redirect_stderr(unused),
    ):
        text = Path(folder) / "text"
        text.write_text("".join(f"a{number % 5} b{number % 7}\n" for number in range(99)))
        files = [f"data.{split}={text}" for split in ("train", "valid", "test")]
        brief = (
            "trainer=cpu",
            "trainer.max_epochs=1",
            "logger=csv",
            "data.sequence_length=7",
            f"paths.cache_dir={folder}/cache",
        )
        for number, model in enumerate(("lightrnn", "full")):
            run_dir = f"hydra.run.dir={folder}/runs/{number}"
            _call("train", f"model={model}", "model.hidden_dim=8", "data=text", *files, *brief, run_dir)
        _call("report", f"{folder}/runs", f"output={folder}/report")
    logging.root.handlers.clear()


def _call(name: str, *arguments: str) -> None:
    sys.argv = [f"lightrnn-{name}", *arguments]
    getattr(entry_points, name)()


def serve(address: str) -> None:
    """Run commands, each in a process of its own."""
    warm_up()
    gc.freeze()  # otherwise, each garbage collection in a fork would copy all pages with objects
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".new")
    listener.listen()
    Path(address + ".new").rename(address)  # clients wait for the final name
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nothing waits for the processes that answer
    while True:
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                _answer(connection)


def _answer(connection: socket.socket) -> None:
    """Run one command and send its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile().readline())
    child = os.fork()
    if child == 0:
        _run(getattr(entry_points, request["name"], _python), request, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    _, status = os.waitpid(child, 0)
    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(command, request: dict, descriptors: list[int]) -> None:
    status = 1
    try:
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")  # not those of pytest
        sys.stderr = os.fdopen(2, "w", buffering=1)
        jaxtyping.config.update("jaxtyping_disable", True)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = request["arguments"]
        rank_zero_only.rank = _get_rank() or 0  # as Lightning sets it where it is imported
        sys.modules["__main__"].__spec__ = None  # a script: Lightning starts further processes with its path
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        command()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _python() -> None:
    """``python FILE ARGUMENTS`` or ``python -m MODULE ARGUMENTS``."""
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
        runpy.run_path(sys.argv[0], run_name="__main__")
