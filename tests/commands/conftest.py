"""Fixtures of the command tests."""

from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.training.experiment import train
from tests.training.runs import compose_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text):
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(compose_run(folder, tiny_text, "trainer.max_steps=4"))
    return folder


@pytest.fixture(scope="session")
def configuration() -> Callable[..., DictConfig]:
    """Composes the configuration of a command once; returns it with overrides, which takes milliseconds."""
    composed: dict[str, DictConfig] = {}

    def configure(command: str, *overrides: str) -> DictConfig:
        if command not in composed:
            with initialize_config_module("lightrnn_pl.conf", version_base="1.3"):
                composed[command] = compose(command)
        config = OmegaConf.merge(composed[command], OmegaConf.from_dotlist(list(overrides)))
        assert isinstance(config, DictConfig)
        return config

    return configure
