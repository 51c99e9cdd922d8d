"""Data logged to W&B and TensorBoard, read back with their own readers."""

import base64
import hashlib
import io
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import wandb
from omegaconf import OmegaConf
from PIL import Image

from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.checkpoint import load
from lightrnn_pl.training.callbacks.run_plots import last_change
from lightrnn_pl.training.experiment import train
from lightrnn_pl.training.tracking.loggers import RunFolderWandbLogger
from lightrnn_pl.training.tracking.wandb_runs import summary_metrics
from lightrnn_pl.training.tracking.wandb_workspace import metrics_of
from tests.robustness.forked_process import ForkedProcess
from tests.training.runs import compose_run, kill_run
from tests.training.tracking.wandb_records import read_back

CONF = Path(__file__).parents[3] / "conf"

ROUNDS = (
    *("trainer.limit_train_batches=8", "optimizer.lr=0.5", "trainer.log_every_n_steps=2"),
    *("reallocation.max_rounds=3", "reallocation.epochs_per_round=1", "reallocation.patience=9"),
)
STEPS = [0, 8, 16]
"""Training steps before each round."""


def offline(monkeypatch):
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def logged(tmp_path_factory, tiny_text):
    """The run folder, the metrics and the W&B data of a run of three rounds, which also logged to TensorBoard."""
    run_dir = tmp_path_factory.mktemp("logged") / "run"
    hydra = run_dir / ".hydra" / "hydra.yaml"
    hydra.parent.mkdir(parents=True)
    hydra.write_text("hydra: {runtime: {choices: {model: lightrnn, data: text}}}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        offline(monkeypatch)
        loggers = ("logger=[wandb,tensorboard]", "logger.wandb.tags=[mine]", "seed=5")
        metrics = train(compose_run(run_dir, tiny_text, *ROUNDS, *loggers))
    assert wandb.run is None
    return run_dir, metrics, read_back(run_dir)


def pixels(file):
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def commit() -> str:
    answer = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        pytest.skip("needs a git checkout")
    return answer.stdout.strip()


def test_the_resolved_configuration_is_logged(logged):
    _, metrics, run = logged
    assert run.config["model"]["embedding_dim"] == run.config["model"]["hidden_dim"] == 8
    assert run.config["logger"]["wandb"]["name"] == "test-seed5"
    assert "${" not in json.dumps(run.config)
    assert run.config["commit"] == metrics["commit"]


def test_the_commit_is_that_of_the_checkout(logged):
    head = commit()
    assert logged[1]["commit"] in (head, f"{head}-dirty")


def test_group_and_tags(logged):
    _, _, run = logged
    assert run.run["display_name"] == "test-seed5" and run.run["project"] == "lightrnn_pl"
    assert run.run["run_group"].startswith("test 2x8 ")
    assert set(run.run["tags"]) == {"mine", "lightrnn", "text"}


def test_curves(logged):
    _, metrics, run = logged
    curve = [line["valid/perplexity"] for line in run.history if "valid/perplexity" in line]
    assert curve == pytest.approx([line["valid_perplexity"] for line in metrics["history"]], rel=1e-5)
    assert sum("train/nll" in line for line in run.history) >= 12
    rounds = [line for line in run.history if "round/valid_perplexity" in line]
    assert [line["round"] for line in rounds] == [1, 2, 3]
    assert [line["round/valid_perplexity"] for line in rounds] == [
        summary["valid_perplexity"] for summary in metrics["rounds"]
    ]
    assert [line["round"] for line in run.history if "reallocation/gap" in line] == [1, 2]


def test_the_table_by_round(logged):
    _, metrics, run = logged
    tables = run.tables("figures/rounds")
    assert [len(rows) for rows in tables] == [1, 2, 3]
    for row, summary in zip(tables[-1], metrics["rounds"], strict=True):
        assert (row["round"], row["valid_perplexity"]) == (summary["round"], summary["valid_perplexity"])
        reallocation = summary.get("reallocation", {})
        for name in ("nll_predicted", "nll_measured", "words_moved", "gap", "solver"):
            assert row[name] == reallocation.get(name), name
    assert tables[-1][0]["words_moved"] > 0 and tables[-1][2]["words_moved"] is None


def test_figures_of_the_word_table(logged):
    _, _, run = logged
    for name in ("table/frequency", "table/moved"):
        figures = run.figures(name)
        assert [step for step, _ in figures] == STEPS, name
        images = [pixels(file) for _, file in figures]
        assert len(np.unique(images[0].reshape(-1, 3), axis=0)) > 10
        assert any((images[0] != image).any() for image in images[1:]), "all rounds have the same figure"


def test_figures_of_perplexity(logged):
    run_dir, _, run = logged
    figures = run.figures("figures/perplexity")
    assert [step for step, _ in figures] == [8, 16, 24]
    np.testing.assert_array_equal(pixels(figures[-1][1]), pixels(run_dir / "perplexity.png"))


def test_typical_words(logged):
    run_dir, _, run = logged
    tables = run.tables("table/typical_words")
    assert len(tables) == 4  # one per round, and one for the best model
    bundle = load(run_dir)
    codes = bundle.model.allocation.codes.tolist()
    counts = bundle.vocabulary.counts
    by_axis = {axis: [row for row in tables[-1] if row["axis"] == axis] for axis in ("row", "column")}
    for axis, (name, rows) in enumerate(by_axis.items()):
        assert len(rows) == 7 and sum(row["share of the text"] for row in rows) == pytest.approx(1), name
        for row in rows:
            members = [word for word in range(len(codes)) if codes[word][axis] == row["code"]]
            first = row["words"].split()[0]
            assert counts[bundle.vocabulary.id(first)] == max(counts[members])


def test_the_bundle_is_an_artifact(logged):
    run_dir, metrics, run = logged
    (model,) = [artifact for artifact in run.artifacts if artifact.get("type") == "model"]
    assert {"best", "test-seed5"} <= set(model["aliases"])
    assert model["name"] == f"test-seed5-{(run_dir / 'wandb_id.txt').read_text().strip()}"
    (file,) = model["manifest"]["contents"]
    content = (run_dir / "best.ckpt").read_bytes()
    assert file["path"] == "best.ckpt" and Path(file["local_path"]).read_bytes() == content
    assert base64.b64decode(file["digest"]) == hashlib.md5(content).digest()
    metadata = json.loads(model["metadata"])
    assert metadata["test/perplexity"] == metrics["test"]["perplexity"]
    assert metadata["checkpoint"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_summary(logged):
    _, metrics, run = logged
    assert run.summary["status"] == "completed"
    assert run.summary["validation/perplexity"] == metrics["validation"]["perplexity"]
    assert run.summary["test/perplexity"] == metrics["test"]["perplexity"]
    assert run.summary["parameters"] == metrics["parameters"]
    assert run.summary["bytes"] == metrics["bytes"]["parameters"] + metrics["bytes"]["tables"]
    assert run.summary["words_per_second"] == metrics["words_per_second"] and run.summary["rounds"] == 3


def test_every_panel_of_the_workspace_shows_logged_metrics(logged):
    _, _, run = logged
    lines = [{key.removesuffix("._type") for key in line} for line in run.history]
    for section in OmegaConf.load(CONF / "dashboard.yaml").sections:
        for panel in OmegaConf.to_container(section)["panels"]:
            names = set(metrics_of(panel)) - {"train/loss"}  # logged only by sampled losses
            if panel["panel"] == "LinePlot":
                for name in names:
                    assert any({panel["x"], name} <= line for line in lines), (panel["x"], name)
            elif panel["panel"] == "RunComparer":
                assert not names
            else:
                assert names and names <= run.summary.keys(), panel


def test_tensorboard_has_the_same_data(logged):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run_dir, metrics, run = logged
    board = events.EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    board.Reload()
    curve = [event.value for event in board.Scalars("valid/perplexity")]
    assert curve == pytest.approx([line["valid_perplexity"] for line in metrics["history"]], rel=1e-5)
    assert board.Scalars("test/perplexity")[-1].value == pytest.approx(metrics["test"]["perplexity"], rel=1e-5)
    assert [event.step for event in board.Images("table/moved")] == STEPS
    assert [event.step for event in board.Images("figures/perplexity")] == [8, 16, 24]
    for name in ("table/frequency", "table/moved", "figures/perplexity"):
        for event, (_, file) in zip(board.Images(name), run.figures(name), strict=True):
            np.testing.assert_array_equal(pixels(io.BytesIO(event.encoded_image_string)), pixels(file))
    table = board.Tensors("figures/rounds/text_summary")[-1].tensor_proto.string_val[0].decode()
    lines = table.splitlines()
    assert lines[0].startswith("| round | epochs | valid_perplexity |") and len(lines) == 2 + 3
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(board.summary_metadata)


def test_a_model_without_a_table_logs_curves_and_a_bundle(tiny_text, tmp_path, monkeypatch):
    offline(monkeypatch)
    options = ("model=full", "logger=wandb", "trainer.max_epochs=1", "logger.wandb.group=ours")
    train(compose_run(tmp_path / "run", tiny_text, *ROUNDS, *options))
    run = read_back(tmp_path / "run")
    assert run.run["run_group"] == "ours"
    assert not run.figures("table/moved") and not run.tables("table/typical_words")
    assert len(run.figures("figures/perplexity")) == 1 and len(run.tables("figures/rounds")[0]) == 1
    assert [artifact["type"] for artifact in run.artifacts].count("model") == 1


def test_upload_bundle_false(tiny_text, tmp_path, monkeypatch):
    offline(monkeypatch)
    options = ("logger=wandb", "trainer.max_steps=2", "logger.wandb.upload_bundle=false")
    train(compose_run(tmp_path / "run", tiny_text, *ROUNDS, *options))
    run = read_back(tmp_path / "run")
    assert run.summary["status"] == "completed"
    assert "model" not in [artifact["type"] for artifact in run.artifacts]


def test_a_resumed_run_logs_only_the_remaining_figures(tiny_text, tmp_path, monkeypatch):
    offline(monkeypatch)
    options = (*ROUNDS, "logger=wandb", "resume_point.every_steps=3")
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # else, W&B's service process would keep the killed run open
    wandb.teardown()  # so that the fork starts a service process of its own
    kill_run("step=11", tmp_path / "run", tiny_text, *options)
    (tmp_path / "run" / "tables" / "round_1.npz").unlink()  # as in runs that were started by older versions
    train(compose_run(tmp_path / "run", tiny_text, *options))
    run = read_back(tmp_path / "run")
    assert run.run["run_id"] == (tmp_path / "run" / "wandb_id.txt").read_text().strip()
    assert [step for step, _ in run.figures("table/moved")] == STEPS[2:]
    assert len(run.tables("figures/rounds")[-1]) == 3


def test_a_run_of_a_sweep_agent_is_resumed_without_the_agent(tiny_text, tmp_path, monkeypatch):
    """The agent passes its id in the environment (``wandb/wandb_agent.py``); W&B then ignores the id of the logger."""
    offline(monkeypatch)
    options = (*ROUNDS, "logger=wandb", "resume_point.every_steps=3")
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    with monkeypatch.context() as agent:
        agent.setenv("WANDB_SWEEP_ID", "sweep1")
        agent.setenv("WANDB_RUN_ID", "agentrun")
        wandb.teardown()
        kill_run("step=11", tmp_path / "run", tiny_text, *options)
    train(compose_run(tmp_path / "run", tiny_text, *options))
    assert read_back(tmp_path / "run").run["run_id"] == "agentrun"
    folders = list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len(folders) == 2 and all(folder.name.endswith("-agentrun") for folder in folders)


def test_the_status_of_a_failed_run(tiny_text, tmp_path, monkeypatch):
    offline(monkeypatch)
    options = ("logger=wandb", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    with pytest.raises(FloatingPointError):
        train(compose_run(tmp_path / "run", tiny_text, *ROUNDS, *options))
    assert wandb.run is None
    run = read_back(tmp_path / "run")
    assert run.summary["status"] == "failed" and "test/perplexity" not in run.summary


def test_summary_metrics_of_an_interrupted_run():
    metrics = {"status": "interrupted", "parameters": 3, "bytes": {"parameters": 12, "tables": 4}, "rounds": []}
    assert summary_metrics(metrics) == {"status": "interrupted", "parameters": 3, "bytes": 16}


def test_last_change():
    tables = [[[0, 0], [0, 1], [1, 0]], [[0, 0], [1, 0], [0, 1]], [[0, 1], [1, 0], [0, 0]]]
    by_round = {number: np.array(table) for number, table in enumerate(tables, start=1)}
    assert last_change(by_round).tolist() == [3, 2, 3]
    assert last_change({1: by_round[1]}).tolist() == [1, 1, 1]
    assert last_change({2: by_round[2], 3: by_round[3]}).tolist() == [3, 2, 3]
    assert last_change({2: by_round[2], 3: by_round[2]}).tolist() == [2, 2, 2]


def test_reallocated_words_are_those_of_the_recorded_tables(logged):
    run_dir, metrics, _ = logged
    tables = {number: TableSnapshot.load(run_dir / "tables" / f"round_{number}.npz").codes for number in (1, 2, 3)}
    since = last_change(tables)
    assert (since == 3).sum() == metrics["rounds"][1]["reallocation"]["words_moved"]
    assert set(since) <= {1, 2, 3}


def test_a_full_temporary_folder_is_named(tmp_path):
    """W&B itself would wait forever."""
    process = ForkedProcess(lambda: RunFolderWandbLogger(str(tmp_path), offline=True), limit=100)
    text = process.wait(60)
    assert not process.is_hung and f"no space left while writing {tempfile.gettempdir()}" in text


def test_runs_without_its_logger_do_not_start_wandb(tiny_text, tmp_path, monkeypatch):
    monkeypatch.setattr(wandb, "setup", lambda: pytest.fail("W&B was started"))
    train(compose_run(tmp_path / "run", tiny_text, "logger=none", "trainer.max_steps=1"))
