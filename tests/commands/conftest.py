"""Fixtures of the command tests."""

import pytest

from lightrnn_pl.training.experiment import train
from tests.training.runs import compose_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text):
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(compose_run(folder, tiny_text, "trainer.max_steps=4"))
    return folder
