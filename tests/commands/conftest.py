"""Fixtures of the command tests."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.training.experiment import train
from tests.composition import composed
from tests.training.runs import compose_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text):
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(compose_run(folder, tiny_text, "trainer.max_steps=4"))
    return folder


@pytest.fixture(scope="session")
def configuration() -> Callable[..., DictConfig]:
    """The configuration of a command with overrides, whose values are YAML."""

    def configure(command: str, *overrides: str) -> DictConfig:
        config = OmegaConf.merge(composed(command), OmegaConf.from_dotlist(list(overrides)))
        assert isinstance(config, DictConfig)
        return config

    return configure
