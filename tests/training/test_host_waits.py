"""A training step never waits for a GPU: it reads no value of a tensor, and no shape depends on one.

Steps run on the meta device, whose tensors have no values, so that whatever reads one raises an error; like a GPU, it
takes the branches for devices other than the CPU.  On a GPU, PyTorch reports the same as errors.
"""

import contextlib
from pathlib import Path
from typing import ClassVar

import pytest
import pytorch_lightning as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightrnn_pl.building import instantiate
from lightrnn_pl.training.experiment import train
from tests.cases import every
from tests.training.runs import compose_run
from tests.training.tiny_fit import batches, build_module, compose_tiny

CONF = Path(__file__).parents[2] / "conf" / "model"
READS_VALUES = {
    # PyTorch's adaptive softmax and the character CNN save more time than they wait: they compute only the clusters
    # and the words that occur.
    "model=adaptive": "nonzero",
    "model=char_hierarchical": "unique",
    # A loop over classes is faster than computing the logits of all words of a class for each position.
    "model=hierarchical": "bincount",
}
"""Models that wait for a GPU, and the first operation that does."""
CASES = [
    *([f"model={path.stem}"] for path in sorted(CONF.glob("[a-z]*.yaml"))),
    *([f"model/core={path.stem}"] for path in sorted(CONF.glob("core/*.yaml"))),
    *(["model=full", f"model/loss={path.stem}"] for path in sorted(CONF.glob("loss/*.yaml"))),
    *([f"model={name}", "model.output.chunk_size=30"] for name in ("full", "hashed", "slim")),
    ["model.components=3"],
    ["model=row_word", "model.steps_per_word=2"],
    ["loss_reduction=word"],
    ["model=full", "model.tied=true"],
]


def take_steps(device: str, *overrides: str) -> None:
    config = compose_tiny(*overrides, "model.dropout=0.1")
    module = build_module(config).to(device).train()
    module.log = lambda *arguments, **options: None
    optimizer = instantiate(config.optimizer)(module.parameters())
    windows = [type(batch)(*(part.to(device) for part in batch)) for batch in batches()]
    for number, batch in enumerate(windows):
        with refuse_waits(device) if number else contextlib.nullcontext():  # layouts are computed in the first step
            loss = module.training_step(batch, number)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.model.parameters(), 5.0)
            optimizer.step()


@contextlib.contextmanager
def refuse_waits(device: str):
    if device != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def meta_autocast(monkeypatch):
    """Autocast is off, and does not know the meta device."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    monkeypatch.setattr(torch, "autocast", lambda device, **options: contextlib.nullcontext())


@pytest.mark.parametrize("overrides", every(2, CASES, always=lambda case: case[0] in READS_VALUES), ids=" ".join)
def test_a_step_without_values(overrides, meta_autocast):
    (model, *_) = overrides
    expected = READS_VALUES.get(model)
    error = pytest.raises((RuntimeError, NotImplementedError), match=expected) if expected else None
    with error or contextlib.nullcontext():
        take_steps("meta", *overrides)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("overrides", [case for case in CASES if case[0] not in READS_VALUES], ids=" ".join)
def test_a_step_on_a_gpu(overrides):
    take_steps("cuda", *overrides)


class CountReads(TorchDispatchMode):
    """Counts the operations that read the values of a tensor."""

    reads = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.reads += function.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero)
        return function(*arguments, **(options or {}))


class WatchSteps(pl.Callback):
    """Stores the batches in whose step, including the callbacks before this one, a value was read."""

    reading: ClassVar[list[int]] = []

    def on_train_batch_start(self, *arguments) -> None:
        self.mode = CountReads()
        self.mode.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.mode.__exit__(None, None, None)
        if self.mode.reads:
            self.reading.append(batch_idx)


def test_only_the_progress_bar_reads_tensors_and_only_when_it_is_updated(monkeypatch, tiny_text, tmp_path):
    monkeypatch.setenv("LIGHTRNN_TRUSTED_PACKAGES", "tests")
    monkeypatch.setattr(WatchSteps, "reading", [])
    watch = (
        "callbacks=default",
        "callbacks.progress_bar.refresh_rate=30",
        f"+callbacks.watch._target_={__name__}.WatchSteps",
    )
    run = compose_run(tmp_path / "run", tiny_text, *watch, "trainer.max_epochs=1", "reallocation=none")
    metrics = train(run)
    steps = metrics["history"][-1]["step"]
    assert steps > 60 and WatchSteps.reading == [*range(29, steps, 30), *([] if steps % 30 == 0 else [steps - 1])]
    assert metrics["words_per_second"] > 0
