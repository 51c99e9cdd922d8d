"""Training with two processes: each reads its own streams, both get the same allocation, and a killed run resumes."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch

from lightrnn_pl.building import as_config, as_plain, instantiate
from lightrnn_pl.checkpoint import load
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.training.ranks import select_own_rank
from tests.training.runs import SMALL
from tests.training.states import assert_same_bits

ROOT = Path(__file__).parents[2]
OVERRIDES = (
    *(override for override in SMALL if not override.startswith(("logger=", "trainer=", "name="))),
    *("logger=csv", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.limit_train_batches=20"),
    *("reallocation.max_rounds=2", "reallocation.epochs_per_round=2", "optimizer.lr=0.5"),
    # The test kills a run while it collects statistics.
    *("reallocation.statistics=training", "resume_point.every_steps=7"),
)


ENVIRONMENT = {
    **os.environ,
    **{"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "LIGHTRNN_TRUSTED_PACKAGES": "tests"},
}


def command(commands: Path, folder: Path, files: dict[str, Path], *more: str) -> list[str]:
    corpus = ["data=text", *(f"data.{split}={path}" for split, path in files.items())]
    spy = "+callbacks.traces._target_=tests.training.spies.LeaveTraces", f"+callbacks.traces.folder={folder / 'traces'}"
    folders = f"hydra.run.dir={folder / 'run'}", f"paths.cache_dir={folder / 'cache'}"
    return [str(commands / "lightrnn-train"), *OVERRIDES, *corpus, *spy, *folders, *more]


def train(commands: Path, folder: Path, files: dict[str, Path], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(commands, folder, files, *more),
        **{"cwd": ROOT, "env": ENVIRONMENT, "capture_output": True, "text": True, "timeout": 200, "check": False},
    )


def kill_on_two_nodes(
    commands: Path, folder: Path, files: dict[str, Path], kill_at: int
) -> list[subprocess.CompletedProcess[str]]:
    """Train with two processes, each started by its own torchrun as on two machines, and kill the second one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = str(commands / "python")
    torchrun = [python, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--no-python"]
    kill = f"+callbacks.traces.kill_at={kill_at}", "+callbacks.traces.kill_rank=1"
    nodes = [
        subprocess.Popen(
            [
                *(*torchrun, f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}"),
                *command(commands, folder, files, "trainer.devices=1", "trainer.num_nodes=2", *kill),
            ],
            **{"cwd": ROOT, "env": ENVIRONMENT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
        )
        for node in (0, 1)
    ]
    outputs = {node: nodes[node].communicate(timeout=200 if node else 60)[0] for node in (1, 0)}
    return [subprocess.CompletedProcess([], nodes[node].returncode, outputs[node]) for node in (0, 1)]


def traces(folder: Path, moment: str) -> list[dict]:
    return [torch.load(folder / "traces" / f"{moment}-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def whole(commands, tmp_path_factory, tiny_text):
    folder = tmp_path_factory.mktemp("ddp")
    done = train(commands, folder, tiny_text)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done


def test_both_processes_end_with_the_same_model(whole):
    folder, _ = whole
    first, second = traces(folder, "last")
    assert first["world_size"] == second["world_size"] == 2
    assert_same_bits(first["state"], second["state"])
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["rounds"][0]["reallocation"]["words_moved"] > 0
    assert not torch.equal(
        first["state"]["embedding.allocation.codes"], traces(folder, "first")[0]["state"]["embedding.allocation.codes"]
    )


def test_each_process_reads_its_own_streams_with_its_own_dropout(whole):
    folder, _ = whole
    first, second = traces(folder, "last")
    assert not torch.equal(first["hidden"][0], second["hidden"][0])
    assert not torch.equal(first["generator"], second["generator"])


def test_perplexities_cover_the_whole_text(whole, tiny_text):
    """One process with the same total number of streams reads the same text and measures the same losses."""
    folder, _ = whole
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    bundle = load(folder / "run")

    def perplexity(split: str, streams: int) -> float:
        data = instantiate(as_config({**as_plain(bundle.config.data), "eval_batch_size": streams}))
        loader = data.loader_for(bundle.vocabulary, split)
        return measure_perplexity(bundle.model, loader, bundle.vocabulary, torch.device("cpu")).perplexity

    best = min(entry["valid_perplexity"] for entry in metrics["history"])
    assert best == pytest.approx(perplexity("valid", 6), rel=1e-6)  # in training: 3 streams per process
    assert metrics["validation"]["perplexity"] == pytest.approx(perplexity("valid", 3), rel=1e-6)
    assert metrics["test"]["perplexity"] == pytest.approx(perplexity("test", 3), rel=1e-6)
    lines = tiny_text["test"].read_text().splitlines()
    assert metrics["test"]["tokens"] == sum(len(line.split()) + 1 for line in lines)


def test_only_the_first_process_writes_and_logs(whole):
    folder, done = whole
    assert {path.name for path in (folder / "run").iterdir()} == {
        *("metrics.json", "config.yaml", "best.ckpt", "last.ckpt", "perplexity.png", "csv", "tables"),
        *(".hydra", ".lock", "train.log"),
    }
    assert {path.name for path in folder.iterdir()} == {"run", "cache", "traces"}
    output = done.stdout + done.stderr
    assert output.count("Reallocation after round 1") == output.count("run folder:") == output.count("word table") == 1


@pytest.mark.timeout(600)  # three runs
def test_a_run_whose_processes_are_killed_ends_and_resumes_on_one_node_to_the_same_bits(
    commands, whole, tiny_text, tmp_path
):
    """First a process on another node, then the first of two; the other process must not wait for it forever."""
    folder, _ = whole
    killed = tmp_path / "traces" / "killed"
    first, second = kill_on_two_nodes(commands, tmp_path, tiny_text, kill_at=31)
    assert time.time() - killed.stat().st_mtime < 60 and killed.read_text() == "1"
    assert first.returncode and second.returncode, first.stdout[-3000:]
    assert "Connection" in first.stdout and "Reallocation after round 1" not in second.stdout
    assert (tmp_path / "run" / "last.ckpt").is_file()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["status"] == "failed"

    done = train(commands, tmp_path, tiny_text, "+callbacks.traces.kill_at=45", "+callbacks.traces.kill_rank=0")
    # The command has ended with all processes: they share its output, which was read to the end.
    assert time.time() - killed.stat().st_mtime < 60
    assert killed.read_text() == "0" and done.returncode != 0, done.stderr[-3000:]
    resumed = train(commands, tmp_path, tiny_text)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "resuming from" in resumed.stdout
    for one, other in zip(traces(tmp_path, "last"), traces(folder, "last"), strict=True):
        assert_same_bits(one["state"], other["state"])
        assert torch.equal(one["generator"], other["generator"])
        assert all(map(torch.equal, one["hidden"], other["hidden"]))
    one, other = (json.loads((path / "run" / "metrics.json").read_text()) for path in (tmp_path, folder))
    assert (one["test"], one["table"]) == (other["test"], other["table"])
    assert not list(tmp_path.rglob("*.part"))


def test_rejects_another_number_of_processes():
    with pytest.raises(ValueError, match=r"interrupted with 2 processes and cannot resume with 1; use the same"):
        select_own_rank(["state of the first", "state of the second"])
