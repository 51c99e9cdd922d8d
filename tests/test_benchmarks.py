"""The benchmarks of output layers and of reading text."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import harness, text_reading

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def output_layers(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "output_layers.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_output_layers_on_the_cpu(tmp_path):
    sizes = ("--vocabulary", "50", "--hidden", "8", "--batch", "2", "--phases", "training")
    done = output_layers(*sizes, "--outputs", "slim", "--device", "cpu", "--json", str(tmp_path / "layers.json"))
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "layers.json").read_text())
    assert (row["output"], row["phase"], row["device"]) == ("slim", "training", "cpu") and row["seconds"] > 0
    assert "| slim | 50 | training | 1 thread |" in done.stdout


def test_an_absent_device_is_reported_in_one_line():
    done = output_layers("--device", "cuda:99")
    assert done.returncode == 2
    assert done.stderr == "--device=cuda:99 is not available on this machine; auto uses a GPU if there is one\n"


@pytest.mark.parametrize(("device", "waits"), [("cpu", 0), ("cuda:1", 1), ("mps", 1)])
def test_a_step_ends_when_a_gpu_has_finished(device, waits, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.accelerator, "synchronize", calls.append)
    harness.synchronize(torch.device(device))
    assert calls == [torch.device(device)] * waits


@pytest.mark.parametrize("case", ["token cache", "epoch without a cache"])
def test_text_reading(case, tmp_path):
    size = text_reading.write_shards(
        tmp_path / "text", 20_000, np.ones(50), num_shards=3, compress=case != "token cache"
    )
    shards = sorted((tmp_path / "text").glob("news*"))
    texts = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in shards]
    assert len(shards) == 3 and sum(map(len, texts)) == size
    row = text_reading.measure(case, str(tmp_path / "text" / "news*"), str(tmp_path / "cache"))
    assert row["tokens"] == sum(len(text.split()) + text.count(b"\n") for text in texts)
    assert 20_000 <= row["tokens"] < 24_000
