"""``lightrnn-serve``: a running server, and its settings."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightrnn_pl.commands.serve import allowed_hosts, listen, serve
from tests.scripts import heavy_imports, script
from tests.serving.models import tiny_bundle


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    tiny_bundle().save(path)
    return path


def settings(saved, **changes):
    plain = {
        **{"checkpoint": str(saved), "host": "127.0.0.1", "port": 0, "hosts": [], "prefixes": 8, "device": "cpu"},
        "tokenizer": None,
    }
    return OmegaConf.create({**plain, **changes})


def test_serves_until_interrupted(saved, tmp_path):
    process = subprocess.Popen(
        [script("serve"), f"checkpoint={saved.parent}", "port=0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        output = process.stdout.readline()
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)   \(press Ctrl-C to stop\)\n", output)
        assert address, output
        request = urllib.request.Request(
            f"{address[1]}api/next", b'{"text": "the cat", "k": 2}', {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request, timeout=20))
        assert [word for word, _ in answer["words"]] == list(tiny_bundle().next_words("the cat", 2).words)
        foreign = urllib.request.Request(address[1], headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(foreign, timeout=20)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0 and errors == ""
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": ""}, "does not name a model"),
        ({"checkpoint": "/nowhere"}, "no checkpoint at /nowhere"),
        ({"port": "http"}, "port must be an integer greater than or equal to 0, got http"),
        ({"port": 65536}, "port must be at most 65535"),
        ({"host": "no.such.name.invalid"}, "host=no.such.name.invalid is not an address of this machine"),
        ({"host": "192.0.2.1"}, "cannot listen on host=192.0.2.1"),
        ({"hosts": "one.example"}, "hosts must be a list of names, such as [one.example]"),
        ({"prefixes": 0}, "prefixes must be an integer greater than or equal to 1"),
    ],
)
def test_rejects_invalid_settings(saved, changes, message):
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        serve(settings(saved, **changes))


def test_rejects_a_port_in_use():
    with listen("127.0.0.1", 0) as first:
        assert first.proto == socket.IPPROTO_TCP  # otherwise, asyncio keeps Nagle's algorithm on: 40 ms per response
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"port={port} of 127.0.0.1 is already in use"):
            listen("127.0.0.1", port)


def test_allowed_host_names():
    loopback = ["localhost", "127.0.0.1", "[::1]"]
    assert allowed_hosts("127.0.0.1") == loopback
    assert allowed_hosts("localhost", ["Model.example"]) == [*loopback, "model.example"]
    assert allowed_hosts("127.0.0.2") == [*loopback, "127.0.0.2"]
    here = socket.gethostname().lower()
    assert allowed_hosts("0.0.0.0", ["192.168.1.20"]) == [*loopback, here, "192.168.1.20"]
    assert allowed_hosts("2001:db8::1") == [*loopback, here, "[2001:db8::1]"]


def test_warns_if_other_machines_can_connect(saved, monkeypatch, capsys):
    import lightrnn_pl.commands.serve as command

    class Server:
        def __init__(self, config):
            self.config = config

        def run(self, sockets):
            raise KeyboardInterrupt

    monkeypatch.setattr(command.uvicorn, "Server", Server)
    serve(settings(saved))
    assert capsys.readouterr().err == ""
    serve(settings(saved, host="0.0.0.0", hosts=["models.example"]))
    captured = capsys.readouterr()
    assert "http://127.0.0.1:" in captured.out and captured.err.startswith("warning: with host=0.0.0.0, anyone")
    assert "models.example" in captured.err


def test_help_does_not_import_torch(tmp_path):
    script = heavy_imports("serve", "--help", packages=("torch", "starlette", "uvicorn"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "usage: lightrnn-serve" in done.stdout and "HEAVY []" in done.stdout, done.stderr
