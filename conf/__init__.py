"""Hydra configuration of lightrnn_pl; one folder per config group, see README.md."""

from omegaconf import OmegaConf


def _model_name(choice: str, init_from: str | None) -> str:
    """The first part of a run's default name: with ``init_from``, ``model`` does not select the model."""
    return choice if init_from is None else "fine-tuned"


OmegaConf.register_new_resolver("model_name", _model_name, replace=True)
