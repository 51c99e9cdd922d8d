"""The optimizer of the LightningModule on different devices."""

from types import SimpleNamespace

import pytest
import torch

from tests.training.tiny_fit import build_module, compose_tiny


@pytest.mark.parametrize(
    ("device", "scaler", "overrides", "expected"),
    [
        ("cuda", None, ["optimizer=sgd"], True),
        ("cuda", None, ["optimizer=adamw"], True),
        ("cuda", None, ["optimizer=adagrad"], None),
        ("cuda", None, ["+optimizer.fused=false"], False),
        ("cuda", object(), ["optimizer=sgd"], None),
        ("cpu", None, ["optimizer=sgd"], None),
    ],
)
def test_optimizers_are_fused_on_gpus(device, scaler, overrides, expected, monkeypatch):
    module = build_module(compose_tiny(*overrides))
    monkeypatch.setattr(type(module), "device", torch.device(device))
    monkeypatch.setattr(
        type(module), "trainer", SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler)), raising=False
    )
    (group,) = module.configure_optimizers().param_groups
    assert group["fused"] is expected and group["initial_lr"] == group["lr"]
