"""Refuses options of a command that would be ignored, because another option makes them irrelevant."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig


def check_unused(config: DictConfig, reason: str, **defaults: Any) -> None:
    """Check that options without effect have their default values.

    Args:
        config: The configuration of the command.
        reason: Why they have no effect and how to change that, as the end of a sentence.
        defaults: The options and their defaults in the YAML file of the command.

    Raises:
        ValueError: Naming the option.
    """
    for name, default in defaults.items():
        if config.get(name, default) != default:
            raise ValueError(f"{name}={config[name]} {reason}")
