"""From configuration to objects: the one place that calls Hydra's ``instantiate``.

Hydra's ``_target_`` is the registry of strategies.  A configuration may come out of a checkpoint of unknown origin,
so a target must be defined in a package on the list below, or in one that the user names in the environment
variable LIGHTRNN_TRUSTED_PACKAGES (comma-separated).
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.losses import Loss
from lightrnn_pl.nn.outputs import Output
from lightrnn_pl.vocabulary import Vocabulary

TRUSTED_PACKAGES = ("lightrnn_pl", "torch.optim", "torch.nn", "pytorch_lightning")


def instantiate(config: Any, **arguments: Any) -> Any:
    """``hydra.utils.instantiate`` for trusted targets only.

    Raises:
        ValueError: Naming the target and the remedy when it is defined outside the trusted packages, or the key and
            the reason when it cannot be made from what is configured.
    """
    for target in _targets(config):
        _check_target(target)
    try:
        return hydra.utils.instantiate(config, **arguments)
    except InstantiationException as error:
        # What a constructor refused was meant for the user; where Hydra stood is not.
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from None
        if _is_misconfigured(error.__cause__):
            reason = " ".join(str(error.__cause__).split())
            raise ValueError(f"{_place(error)} cannot be set up as configured: {reason}") from error.__cause__
        raise


def build_allocation(
    config: DictConfig, vocabulary: Vocabulary, tokens: Any = None, words_placed: bool = True
) -> WordAllocation:
    """The first word table for ``config.model.components`` codes a word; with one code there is nothing to choose.

    Args:
        config: The whole configuration.
        vocabulary: Whose words are to be placed.
        tokens: Word ids of the training text, for tables that are made from it.
        words_placed: False leaves the words in order, for a table that is about to be loaded.
    """
    components = config.model.components
    num_words = len(vocabulary)
    sides = tuple(config.model.sides) if config.model.get("sides") else balanced_sides(num_words, components)
    if len(sides) != components:
        raise ValueError(f"model.sides={list(sides)} gives {len(sides)} sides, but model.components={components}")
    if components == 1 or not words_placed:
        return WordAllocation.in_order(num_words, sides)
    first_table = instantiate(config.allocation)
    return first_table(num_words, sides, vocabulary.words, vocabulary.counts, tokens)


def build_model(
    config: DictConfig,
    allocation: WordAllocation,
    vocabulary: Vocabulary,
    initialise: bool = True,
    tokens: Any = None,
) -> LanguageModel:
    """The language model that ``config.model`` describes, its two outer layers closed over one word table.

    A layer or loss that looks at spelling or counts is handed the vocabulary: it names it among its arguments.  So it
    is with ``tokens``, the word ids of the training text, where they are at hand.  With ``initialise=False`` the
    parameters are left to be loaded, and no file that they could start from is read.
    """
    model = config.model
    embedding = _complete(instantiate(model.embedding), allocation=allocation, vocabulary=vocabulary, tokens=tokens)
    core = _complete(instantiate(model.core), input_dim=embedding.embedding_dim)
    output, loss = build_layers(model, allocation, vocabulary, core.hidden_dim, tokens)
    return LanguageModel(
        embedding,
        core,
        output,
        loss,
        input_dropout=model.input_dropout,
        output_dropout=model.output_dropout,
        init_scale=model.init_scale if initialise else None,
        tied=model.tied,
    )


def build_layers(
    model: DictConfig, allocation: WordAllocation, vocabulary: Vocabulary, hidden_dim: int, tokens: Any = None
) -> tuple[Output, Loss]:
    """The output layer of ``config.model`` and the loss that trains it; see :func:`build_model`."""
    offered = {"vocabulary": vocabulary, "tokens": tokens}
    output = _complete(instantiate(model.output), allocation=allocation, hidden_dim=hidden_dim, **offered)
    return output, _complete(instantiate(model.loss), **offered)


def _complete(partial: Callable[..., Any], **arguments: Any) -> Any:
    named = inspect.signature(getattr(partial, "func", partial)).parameters
    for offered in ("vocabulary", "tokens"):
        if offered not in named:
            arguments.pop(offered, None)
    try:
        return partial(**arguments)
    except TypeError as error:
        what = getattr(getattr(partial, "func", partial), "__name__", str(partial))
        raise ValueError(f"{what} cannot be set up as configured: {error}") from error


def as_config(plain: Mapping[str, Any]) -> DictConfig:
    """A configuration read back from plain dictionaries, as a bundle or a run folder keeps it."""
    config = OmegaConf.create(dict(plain))
    assert isinstance(config, DictConfig)
    return config


def as_plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dictionaries, lists and scalars, fit for ``torch.save``."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _is_misconfigured(cause: BaseException | None) -> bool:
    """Whether a constructor failed for its arguments, or for a package or device that is not there."""
    # Lightning's own exception is recognized by its name, because nothing here imports Lightning.
    lightning = any(kind.__name__ == "MisconfigurationException" for kind in type(cause).__mro__)
    return lightning or isinstance(cause, TypeError | ModuleNotFoundError)


def _place(error: InstantiationException) -> str:
    """The key of the configuration that failed, or its target where Hydra gives no key; both only in its message."""
    message = str(error)
    for pattern in (r"^full_key: (.+)$", r"target '(.+)'"):
        if found := re.search(pattern, message, re.MULTILINE):
            return found[1]
    return "the configuration"


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, DictConfig) or OmegaConf.is_list(config):
        config = OmegaConf.to_container(config, resolve=False)
    if isinstance(config, Mapping):
        if isinstance(config.get("_target_"), str):
            yield config["_target_"]
        for value in config.values():
            yield from _targets(value)
    elif isinstance(config, Sequence) and not isinstance(config, str):
        for value in config:
            yield from _targets(value)


def _check_target(target: str) -> None:
    own = os.environ.get("LIGHTRNN_TRUSTED_PACKAGES", "")
    trusted = (*TRUSTED_PACKAGES, *(name.strip() for name in own.split(",") if name.strip()))
    if _is_inside(target, trusted):
        found = hydra.utils.get_object(target)
        # A trusted module may have imported something that is not: judge where the object was defined.
        defined_in = str(getattr(found, "__module__", None) or type(found).__module__)
        if _is_inside(defined_in, trusted):
            return
    raise ValueError(
        f"_target_: {target} is not defined in a trusted package ({', '.join(trusted)}); if you trust it, name its "
        "package in the environment variable LIGHTRNN_TRUSTED_PACKAGES"
    )


def _is_inside(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)
