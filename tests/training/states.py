"""The weights that a run saved, and their exact comparison."""

from pathlib import Path

import torch


def last_state(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "last.ckpt", weights_only=True)["state_dict"]


def best_state(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "best.ckpt", weights_only=True)["state"]


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
