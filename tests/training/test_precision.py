"""Every precision on every model either trains, with losses close to those of float32, or is refused in one line."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lightrnn_pl.checkpoint import load
from lightrnn_pl.training import precision
from lightrnn_pl.training.experiment import train
from lightrnn_pl.training.precision import PRECISIONS, check_precision, select_precision
from tests.training.runs import compose_run
from tests.training.tiny_fit import compose_tiny, loss_or_error, validation_loss

CONF = Path(__file__).parents[2] / "conf" / "model"
MODELS = [f"model={path.stem}" for path in sorted(CONF.glob("[a-z]*.yaml"))]
REPRESENTATIVE = ("model=full", "model=lightrnn", "model=row_word", "model=char_hierarchical", "model/core=mingru")
CORES = [f"model/core={path.stem}" for path in sorted(CONF.glob("core/*.yaml"))]


@functools.cache
def single_precision_loss(override: str) -> float:
    return validation_loss(compose_tiny(override))


def check_result(result: float | str, expected: float, name: str) -> None:
    if isinstance(result, str):
        assert result.startswith(f"trainer.precision={name} is not supported for ") and "\n" not in result
        assert "32-true" in result and name not in result.partition("which supports")[2].split(";")[0].split(", ")
    else:
        assert result == pytest.approx(expected, rel=1e-5 if name == "64-true" else 5e-3)


@pytest.mark.parametrize("name", PRECISIONS[1:])
@pytest.mark.parametrize(
    "override",
    [
        pytest.param(override, marks=[] if override in REPRESENTATIVE else pytest.mark.exhaustive)
        for override in (*MODELS, *CORES)
    ],
)
def test_models_train_or_are_refused(override, name):
    result = loss_or_error(override, f"trainer.precision={name}")
    check_result(result, single_precision_loss(override), name)
    if name == "64-true":
        assert isinstance(result, float)
    if name == "16-mixed":
        assert isinstance(result, str)


@pytest.mark.exhaustive  # imports everything in a process of its own
def test_a_cpu_without_instructions_for_bfloat16():
    command = [sys.executable, "-m", "tests.training.tiny_fit", "model=full"]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, cwd=CONF.parents[1], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert results.keys() == set(PRECISIONS)
    for name, result in results.items():
        check_result(result, single_precision_loss("model=full"), name)


def test_a_precision_that_fails_in_a_step_is_refused(monkeypatch):
    forward = torch.nn.LSTM.forward

    def fail_in_mixed_precision(*arguments):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive")
        return forward(*arguments)

    monkeypatch.setattr(torch.nn.LSTM, "forward", fail_in_mixed_precision)
    with pytest.raises(ValueError, match=r"^trainer.precision=bf16-mixed is not supported .* supports 32-true, "):
        check_precision(compose_tiny("trainer.precision=bf16-mixed"))


@pytest.mark.parametrize("core", ["lstm", "gru"])
@pytest.mark.parametrize("supported", [True, False])
def test_auto_on_a_cpu(core, supported, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    config = compose_tiny(f"model/core={core}")
    fast = supported and core == "lstm" and precision._trains(config, "bf16-mixed")
    assert select_precision(config) == ("bf16-mixed" if fast else "32-true")


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), ["bf16-mixed", "16-mixed"]), ((7, 5), ["16-mixed"]), ((6, 1), [])]
)
def test_auto_on_a_gpu(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision._fast_precisions(compose_tiny(), torch.device("cuda")) == expected


def test_random_generators_are_left_as_they_were():
    before = torch.random.get_rng_state()
    check_precision(compose_tiny("trainer.precision=64-true"))
    select_precision(compose_tiny())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_run_stores_the_selected_precision(monkeypatch, tiny_text, tmp_path):
    monkeypatch.setattr("lightrnn_pl.training.experiment.select_precision", lambda config: "64-true")
    overrides = ("trainer.precision=auto", "trainer.max_steps=3", "reallocation=none")
    train(compose_run(tmp_path / "run", tiny_text, *overrides))
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").trainer.precision == "64-true"


@pytest.mark.parametrize("name", ["bf16-true", "64-true"])
def test_the_bundle_of_a_run_in_another_precision_is_in_single_precision(name, tiny_text, tmp_path):
    overrides = (f"trainer.precision={name}", "trainer.max_epochs=2", "reallocation.max_rounds=2")
    metrics = train(compose_run(tmp_path / "run", tiny_text, *overrides, "trainer.limit_train_batches=8"))
    assert metrics["status"] == "completed" and metrics["test"]["perplexity"] > 1
    assert {parameter.dtype for parameter in load(tmp_path / "run").model.parameters()} == {torch.float32}
