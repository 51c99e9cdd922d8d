"""Training runs: results, files, and status, even if a run fails or is interrupted."""

import functools
import json
import logging
import math
import signal

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from lightrnn_pl.allocation import progress_log
from lightrnn_pl.allocation.initial.random import RandomAllocation
from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.building import instantiate
from lightrnn_pl.checkpoint import load
from lightrnn_pl.data.datamodule import CorpusDataModule
from lightrnn_pl.training import experiment
from lightrnn_pl.training.experiment import train
from tests.cases import every
from tests.data.archives import aclw_files, billionw_files, make_tar, make_zip
from tests.data.file_server import Fault, serve
from tests.training.runs import compose_overrides, compose_run, folders_of

SMALL = (
    *("trainer.limit_train_batches=8", "resume_point.every_steps=5", "optimizer.lr=0.5"),
    *("reallocation.max_rounds=2", "reallocation.epochs_per_round=2"),
)


class InterruptAt(pl.Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


def read_metrics(run_dir):
    return json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))


def test_the_files_and_metrics_of_a_run(tiny_text, tmp_path):
    run_dir = tmp_path / "run"
    returned = train(compose_run(run_dir, tiny_text, *SMALL, "logger=csv"))
    metrics = read_metrics(run_dir)
    assert metrics == json.loads(json.dumps(returned))
    assert metrics["status"] == "completed"
    assert {path.name for path in run_dir.iterdir()} == {
        *("metrics.json", "config.yaml", "best.ckpt", "last.ckpt", "perplexity.png", "csv", "tables")
    }
    assert metrics["sides"] == [7, 7] and metrics["components"] == 2 and metrics["seed"] == 0
    assert metrics["words_per_second"] > 0 and metrics["seconds"] > 0
    lines = tiny_text["test"].read_text().splitlines()
    words = sum(len(line.split()) for line in lines)
    assert metrics["test"]["tokens"] == words + len(lines) and metrics["test"]["end_tokens"] == len(lines)
    assert metrics["protocol"]["end_marker"] == "<eos>" and metrics["protocol"]["eval_streams"] == 3
    bundle = load(run_dir)
    assert metrics["parameters"] == sum(parameter.numel() for parameter in bundle.model.parameters())
    assert metrics["table"] == bundle.model.allocation.fingerprint()
    best = min(entry["valid_perplexity"] for entry in metrics["history"])
    assert metrics["validation"]["perplexity"] == pytest.approx(best, rel=1e-6)
    assert bundle.metrics["valid_nll"] == pytest.approx(math.log(best))
    assert [summary["round"] for summary in metrics["rounds"]] == [1, 2]
    for summary in metrics["rounds"]:
        history = [entry["valid_perplexity"] for entry in metrics["history"] if entry["round"] == summary["round"]]
        assert summary["validations"] == pytest.approx(history)


def test_the_history_has_the_learning_rate_before_each_validation(tiny_text, tmp_path):
    overrides = ["schedule=steps", "schedule.factors=[1,0.5]", "optimizer.lr=0.4"]
    metrics = train(compose_run(tmp_path / "run", tiny_text, *SMALL, *overrides))
    assert [entry["learning_rate"] for entry in metrics["history"]] == [0.4, 0.2, 0.4, 0.2]


def test_the_initial_allocation_is_the_same_for_cached_and_streamed_text(tiny_text, tmp_path):
    tables = {}
    for name, overrides in {
        "cached": ["allocation=cooccurrence"],
        "streamed": ["allocation=cooccurrence", "data.cache=false"],
        "random": [],
    }.items():
        metrics = train(compose_run(tmp_path / name, tiny_text, *SMALL, *overrides))
        assert metrics["status"] == "completed" and len(metrics["rounds"]) == 2
        tables[name] = TableSnapshot.load(tmp_path / name / "tables" / "round_1.npz").codes
    assert (tables["cached"] == tables["streamed"]).all() and (tables["cached"] != tables["random"]).any()


def test_biases_are_initialized_for_the_initial_allocation(monkeypatch, tiny_text, tmp_path):
    parts = ("model.embedding.num_parts=2", "model.output.num_parts=2", "reallocation=none", "allocation=random")
    outputs = []

    def fit(trainer, module, *arguments, **options):
        outputs.append(module.model.output)
        raise ValueError("stop")

    monkeypatch.setattr(pl.Trainer, "fit", fit)
    config = compose_run(tmp_path / "run", tiny_text, "model=row_word", *parts)
    with pytest.raises(ValueError, match="stop"):
        train(config)
    (output,) = outputs
    words = torch.arange(output.allocation.num_words)
    probabilities = output.log_probability(torch.zeros(1, len(words), output.hidden_dim), words[None])[0].exp()
    counts = output._counts.clamp(min=0.5)
    torch.testing.assert_close(probabilities, (counts / counts.sum()).float())


def test_a_run_without_a_test_text(tiny_text, tmp_path):
    files = {split: path for split, path in tiny_text.items() if split != "test"}
    metrics = train(compose_run(tmp_path / "run", files, *SMALL, "trainer.max_epochs=1"))
    assert metrics["status"] == "completed" and metrics["test"] is None and metrics["validation"]["perplexity"] > 1


def test_runs_are_equal_if_and_only_if_their_seeds_are(tiny_text, tmp_path):
    runs = [
        train(compose_run(tmp_path / name, tiny_text, *SMALL, f"seed={seed}"))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    tables, perplexities = [run["table"] for run in runs], [run["test"]["perplexity"] for run in runs]
    assert tables[0] == tables[1] != tables[2]
    assert perplexities[0] == perplexities[1] != perplexities[2]


def test_a_duration_that_is_none_is_refused(tiny_text, tmp_path):
    with pytest.raises(ValueError, match=r"^trainer\.max_time=3m is not a duration; pass days:hours:minutes:seconds"):
        train(compose_run(tmp_path / "run", tiny_text, "trainer.max_time=3m"))


def test_sigterm_during_the_final_evaluation_is_an_interruption(tiny_text, tmp_path, monkeypatch, caplog):
    config = compose_run(tmp_path / "run", tiny_text, "trainer.max_steps=2", "reallocation=none")
    monkeypatch.setattr(experiment, "word_losses", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit, match="143"), caplog.at_level("INFO"):
        train(config)
    assert "training ended after 0.02 epochs because of trainer.max_steps" in caplog.text
    assert read_metrics(tmp_path / "run")["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, tiny_text):
    """The metrics of a run with a core."""

    @functools.cache
    def run(core: str):
        return train(compose_run(tmp_path_factory.mktemp("whole"), tiny_text, *SMALL, f"model/core={core}"))

    return run


@pytest.mark.parametrize(("step", "core"), every(2, [(3, "lstm"), (13, "lstm"), (13, "mingru"), (21, "lstm")]))
def test_a_run_resumes_after_ctrl_c(
    step, core, uninterrupted, default_interrupt_handler, monkeypatch, tiny_text, tmp_path
):
    overrides = (*SMALL, f"model/core={core}")
    whole = uninterrupted(core)
    run_dir = tmp_path / "run"
    monkeypatch.setenv("LIGHTRNN_TRUSTED_PACKAGES", "tests")
    interrupt = (f"+callbacks.interrupt._target_={__name__}.InterruptAt", f"+callbacks.interrupt.step={step}")
    with pytest.raises(SystemExit):
        train(compose_run(run_dir, tiny_text, *overrides, *interrupt))
    metrics = read_metrics(run_dir)
    assert metrics["status"] == "interrupted" and metrics["error"] is None
    assert (run_dir / "last.ckpt").is_file() == (step > 5)

    resumed = train(compose_run(run_dir, tiny_text, *overrides))
    assert resumed["status"] == "completed"
    assert (resumed["test"], resumed["table"]) == (whole["test"], whole["table"])


def test_divergence_is_explained(tiny_text, tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(FloatingPointError, match=r"training has diverged; lower optimizer.lr"):
        train(compose_run(run_dir, tiny_text, *SMALL, "optimizer.lr=1e30", "trainer.gradient_clip_val=null"))
    metrics = read_metrics(run_dir)
    assert metrics["status"] == "failed"
    assert metrics["error"].startswith("FloatingPointError: validation loss is ")


def test_resume_false_starts_over(tiny_text, tmp_path):
    run_dir = tmp_path / "run"
    first = train(compose_run(run_dir, tiny_text, *SMALL, "seed=1"))
    again = train(compose_run(run_dir, tiny_text, *SMALL, "seed=2", "resume=false"))
    assert again["seed"] == 2 and again["table"] != first["table"]
    assert len(again["history"]) == len(first["history"])


def test_steps_after_the_last_validation_are_validated(tiny_text, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress_log, "_INTERVAL", -1.0)  # log the progress of evaluation after every batch
    metrics = train(compose_run(tmp_path / "run", tiny_text, *SMALL, "trainer.max_steps=3"))
    assert [entry["step"] for entry in metrics["history"]] == [3]
    assert metrics["history"][0]["valid_perplexity"] == pytest.approx(metrics["validation"]["perplexity"], rel=1e-4)
    assert metrics["rounds"][0]["validations"] == [metrics["history"][0]["valid_perplexity"]]
    for text in ("Validation of the last steps", "Perplexity of the validation text", "Perplexity of the test text"):
        assert f"{text}: batch 1 of " in caplog.text


def test_rejects_training_without_validation(tiny_text, tmp_path):
    with pytest.raises(ValueError, match=r"trainer.limit_val_batches=0 disables validation"):
        train(compose_run(tmp_path / "run", tiny_text, *SMALL, "trainer.limit_val_batches=0"))
    assert read_metrics(tmp_path / "run")["status"] == "failed"


def test_resume_false_keeps_the_old_run_if_the_new_one_cannot_start(tiny_text, tmp_path, caplog):
    run_dir = tmp_path / "run"
    caplog.set_level(logging.INFO)
    train(compose_run(run_dir, tiny_text, *SMALL, "trainer.max_steps=3"))
    assert "run test, seed 0" in caplog.text
    caplog.clear()
    files = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    broken = {**tiny_text, "train": tmp_path / "typo.txt"}
    with pytest.raises(FileNotFoundError, match=r"typo.txt does not exist"):
        train(compose_run(run_dir, broken, *SMALL, "resume=false"))
    assert {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()} == files
    assert "run test, seed 0" not in caplog.text  # the text was refused first


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.sides=[6,6]"], r"49 words do not fit into a table with sides \[6, 6\] \(36 cells\)"),
        (["model.sides=[0,90]"], r"every side of the table must be at least 1, got model.sides=\[0, 90\]"),
        (["model.sides=[7]"], r"model.sides=\[7\] has 1 sides, but model.components=2"),
        (["data.sequence_length=900"], r"less than one window \(data.sequence_length=900\)"),
        (["model=full", "model.components=2"], r"use model.components=1"),
        (["model.dropout=1.5"], r"dropout"),
        (["+model.core.bogus=1"], r"LSTMCore cannot be set up as configured: .*bogus"),
        (["loss_reduction=sum"], r"loss_reduction: Input should be 'window' or 'word', got sum"),
        (["data.valid=null"], r"needs a validation text.*set data.valid"),
    ],
)
def test_rejects_invalid_input_before_training(overrides, message, tiny_text, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(compose_run(tmp_path / "run", tiny_text, *overrides))
    assert not (tmp_path / "run" / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dropout=1.5", "dropout"),
        ("model.embedding.embedding_dim=0", "embedding_dim"),
        ("model.tied=true", "set model.tied=false"),  # row and column vectors have no projection
        ("loss_reduction=sum", "loss_reduction"),
        ("reallocation.patience=0", "reallocation.patience"),
    ],
)
def test_rejects_invalid_settings_before_the_initial_allocation(override, message, monkeypatch, tiny_text, tmp_path):
    monkeypatch.setattr(RandomAllocation, "__call__", lambda *arguments: pytest.fail("computed the allocation"))
    overrides = ["model.embedding.embedding_dim=6"] if override == "model.tied=true" else []
    with pytest.raises(ValueError, match=message):
        train(compose_run(tmp_path / "run", tiny_text, *overrides, override))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.accelerator=nonexistent", "nonexistent"),
        ("+trainer.foo=1", r"^trainer cannot be set up as configured: .*foo"),
        ("optimizer.lr=-1", "Invalid learning rate: -1"),
        ("+optimizer.foo=1", r"^optimizer: SGD cannot be set up as configured: .*foo"),
        ("schedule.decay=2", "schedule.decay"),
        (
            "trainer.precision=16-mixed",
            r"^trainer.precision=16-mixed is not supported for LSTMCore on this machine, which",
        ),
        ("+model.foo=1", r"^model.foo is not a valid key"),
    ],
)
def test_rejects_other_settings_before_the_text_is_read(override, message, monkeypatch, tiny_text, tmp_path):
    monkeypatch.setattr(CorpusDataModule, "prepare_data", lambda self: pytest.fail("read the text"))
    with pytest.raises(ValueError, match=message):
        train(compose_run(tmp_path / "run", tiny_text, override))


@pytest.mark.parametrize(
    ("group", "override", "message"),
    [
        ("schedule", "schedule.decay=2", r"schedule.decay must be between 0 and 1, got 2"),
        ("data", "data.batch_size=0", r"data.batch_size .*must be an integer .* got 0"),
        ("optimizer", "optimizer._target_=torch.hub.load", r"torch.hub.load is not defined in a trusted package"),
    ],
)
def test_constructors_reject_invalid_settings(group, override, message, tiny_text, tmp_path):
    config = compose_run(tmp_path / "run", tiny_text, override)
    with pytest.raises(ValueError, match=message):
        instantiate(config[group])


def test_checkpoints_store_the_hidden_state_of_every_process_on_the_cpu(tiny_text, tmp_path):
    train(compose_run(tmp_path / "run", tiny_text, *SMALL))
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert len(saved["hidden_state"]) == 1  # ranks
    assert [part.device.type for part in saved["hidden_state"][0]] == ["cpu", "cpu"]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("corpus", ["data=aclw data.language=cs", "data=billionw"])
def test_trains_on_published_archives_of_a_server(corpus, cache, tmp_path, monkeypatch):
    for name in ("ACLW", "BILLIONW"):
        monkeypatch.delenv(f"LIGHTRNN_{name}", raising=False)
    content = make_zip(aclw_files()) if "aclw" in corpus else make_tar(billionw_files())
    options = [*corpus.split(), *folders_of(tmp_path / "run"), f"data.cache={cache}", "trainer.max_epochs=1"]
    with serve(files={"/archive": content}, faults=[Fault(cut=500), Fault(cut=500)]) as server:
        metrics = train(compose_overrides(*options, "reallocation=none", f"data.archive={server.url}/archive"))
    assert metrics["status"] == "completed" and metrics["test"]["perplexity"] > 1
    assert metrics["tokens"]["train"] > 500
    assert not list(tmp_path.rglob("*.part"))


def test_the_saved_configuration_has_the_absolute_path_of_an_archive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large.zip").write_bytes(make_zip(aclw_files()))
    options = ["data=archive", "data.archive=large.zip", "data.train=cs/train.txt", "data.valid=cs/valid.txt"]
    train(compose_overrides(*folders_of(tmp_path / "run"), *options, "trainer.max_steps=1", "reallocation=none"))
    saved = OmegaConf.load(tmp_path / "run" / "config.yaml").data
    assert (saved.archive, saved.root) == (str(tmp_path / "large.zip"), None)


def test_the_command_of_a_run_is_recorded_when_it_starts(tiny_text, tmp_path):
    run_dir = tmp_path / "run"
    (run_dir / ".hydra").mkdir(parents=True)
    (run_dir / ".hydra" / "overrides.yaml").write_text("- seed=0\n- model.hidden_dim=8\n")
    (run_dir / ".hydra" / "hydra.yaml").write_text(
        "hydra: {runtime: {choices: {model: lightrnn, hydra/help: default}}}"
    )
    metrics = train(compose_run(run_dir, tiny_text, "debug=step"))
    assert metrics["overrides"] == ["seed=0", "model.hidden_dim=8"] and metrics["choices"] == {"model": "lightrnn"}
    assert "overrides" not in train(compose_run(tmp_path / "without Hydra", tiny_text, "debug=step"))
