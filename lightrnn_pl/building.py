"""Builds objects from the configuration. This is the only module that calls Hydra's ``instantiate``.

Hydra's ``_target_`` is the registry of strategies.  Only the user's own configurations are instantiated, and every
target must be defined in one of ``TRUSTED_PACKAGES``, or in a package listed in the environment variable
LIGHTRNN_TRUSTED_PACKAGES (comma-separated).  This prevents mistakes, not attacks: configurations from bundles are read
by ``stored_model``.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.allocation.row_bands import RowBand, balanced_row_sizes, row_bands, sides_of
from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides
from lightrnn_pl.checks import check_choice, check_count
from lightrnn_pl.nn.adaptive_vectors import frequency_cutoffs, vector_sizes
from lightrnn_pl.nn.cores import Core
from lightrnn_pl.nn.embeddings import Embedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.losses import Loss
from lightrnn_pl.nn.outputs import Output
from lightrnn_pl.vocabulary import Vocabulary

_MAX_COMPONENTS = 32
"""More codes of two values each than any vocabulary needs."""
TRUSTED_PACKAGES = ("lightrnn_pl", "torch.optim", "torch.nn", "pytorch_lightning")


def instantiate(config: Any, **arguments: Any) -> Any:
    """``hydra.utils.instantiate`` for trusted targets only.

    Raises:
        ValueError: If a target is defined outside the trusted packages, or cannot be built from its arguments.  The
            message names the target or the configuration key.
    """
    for target in _targets(config):
        _check_target(target)
    try:
        return hydra.utils.instantiate(config, **arguments)
    except InstantiationException as error:
        # The constructor's own message is written for users; Hydra's wrapper around it is not.
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from None
        if _is_misconfigured(error.__cause__):
            reason = " ".join(str(error.__cause__).split())
            raise ValueError(f"{_failed_key(error)} cannot be set up as configured: {reason}") from error.__cause__
        raise


def build_allocation(
    config: DictConfig, vocabulary: Vocabulary, tokens: Any = None, assign_words: bool = True
) -> WordAllocation:
    """The initial allocation for ``config.model.components`` codes per word.

    With one code per word, the code is the word id and ``config.allocation`` is not used.

    Args:
        config: The complete configuration.
        vocabulary: The words to allocate.
        tokens: Word ids of the training text, for strategies that use co-occurrence statistics.
        assign_words: If False, words are allocated in order of their ids.  Use this for an allocation whose codes are
            loaded afterwards.

    Raises:
        ValueError: If ``model.sides`` does not have one side per component, or ``model.row_sizes`` is invalid.
    """
    components = config.model.components
    check_count("model.components", components, at_most=_MAX_COMPONENTS)
    num_words = len(vocabulary)
    bands = _row_bands(config.model, vocabulary)
    sides = sides_of(bands) if bands else balanced_sides(num_words, components)
    if config.model.get("sides"):
        sides = tuple(config.model.sides)
    if len(sides) != components:
        raise ValueError(f"model.sides={list(sides)} has {len(sides)} sides, but model.components={components}")
    if components == 1 or not assign_words:
        return WordAllocation.in_order(num_words, sides)
    initial_allocation = instantiate(config.allocation)
    return initial_allocation(num_words, sides, vocabulary.words, vocabulary.counts, tokens, bands)


def _row_bands(model: DictConfig, vocabulary: Vocabulary) -> list[RowBand] | None:
    """Bands of rows of different sizes, for models that have ``row_sizes``."""
    row_sizes = model.get("row_sizes")
    if row_sizes is None:
        return None
    if "cutoffs" not in model:
        raise ValueError(f"model.row_sizes={row_sizes} requires model.cutoffs; use model=row_word_adaptive")
    if model.sides:
        raise ValueError("model.sides and model.row_sizes are both set; set model.sides=null or model.row_sizes=null")
    num_words, dim, ratio = len(vocabulary), model.hidden_dim, model.div_value
    cutoffs = frequency_cutoffs(model.cutoffs, num_words, dim, ratio, "model")
    if isinstance(row_sizes, str):
        check_choice("model.row_sizes", row_sizes, ("auto",))
        row_sizes = balanced_row_sizes(vocabulary.counts, cutoffs, vector_sizes(dim, ratio, len(cutoffs) + 1))
    return row_bands(num_words, cutoffs, list(row_sizes))


def build_model(
    config: DictConfig,
    allocation: WordAllocation,
    vocabulary: Vocabulary,
    initialize: bool = True,
    tokens: Any = None,
) -> LanguageModel:
    """The language model described by ``config.model``.  Its embedding and output share one allocation.

    A part that needs the spelling or the counts of words declares a ``vocabulary`` argument.  A part that needs the
    training text declares a ``tokens`` argument.

    Args:
        config: The complete configuration.
        allocation: The codes of the words, shared by embedding and output.
        vocabulary: The words of the model.
        initialize: If False, parameters are not initialized and no pretrained file is read.  Use this for a model
            whose state is loaded afterwards.
        tokens: Word ids of the training text, or None if it is not available.
    """
    return assemble_model(config.model, allocation, vocabulary, _instantiate_part, initialize, tokens)


def assemble_model(
    settings: Mapping[str, Any] | DictConfig,
    allocation: WordAllocation,
    vocabulary: Vocabulary,
    make: Callable[[Any, type, str], Callable[..., Any]],
    initialize: bool = True,
    tokens: Any = None,
) -> LanguageModel:
    """The language model whose parts are created by ``make``; see :func:`build_model`.

    Args:
        settings: ``config.model``.
        allocation: The codes of the words.
        vocabulary: The words of the model.
        make: Returns the partial constructor of a part, given its configuration, its contract and its key.
        initialize: Whether to initialize the parameters.
        tokens: Word ids of the training text.
    """
    text = {"vocabulary": vocabulary, "tokens": tokens}

    def part(name: str, contract: type, **arguments: Any) -> Any:
        return _complete(make(settings[name], contract, f"model.{name}"), **arguments)

    embedding = part("embedding", Embedding, allocation=allocation, **text)
    core = part("core", Core, input_dim=embedding.embedding_dim)
    output = part("output", Output, allocation=allocation, hidden_dim=core.hidden_dim, **text)
    return LanguageModel(
        embedding,
        core,
        output,
        part("loss", Loss, **text),
        input_dropout=settings["input_dropout"],
        output_dropout=settings["output_dropout"],
        init_scale=settings["init_scale"] if initialize else None,
        tied=settings["tied"],
        # Bundles of earlier versions do not have these settings.
        locked_dropout=settings.get("locked_dropout", False),
        word_dropout=settings.get("word_dropout", 0.0),
    )


def build_part(model: DictConfig, name: str, **arguments: Any) -> Any:
    """The part ``name`` of ``config.model``: its embedding, core, output or loss; see :func:`build_model`.

    Args:
        model: ``config.model``.
        name: The key of the part.
        arguments: The arguments that are not configured: ``input_dim`` of a core, ``allocation`` and ``hidden_dim`` of
            an output, and ``vocabulary`` and ``tokens``, which are passed only if the part declares them.
    """
    return _complete(instantiate(model[name]), **arguments)


def build_optimizer(config: DictConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of ``parameters`` described by ``config``, which is ``config.optimizer`` of a run.

    Raises:
        ValueError: If a value or the name of an argument is invalid.
    """
    try:
        return _complete(instantiate(config), params=parameters)
    except ValueError as error:
        raise ValueError(f"optimizer: {error}") from error


def _instantiate_part(node: Any, contract: type, key: str) -> Callable[..., Any]:
    return instantiate(node)


def _complete(partial: Callable[..., Any], **arguments: Any) -> Any:
    """Call a partial constructor.  ``vocabulary`` and ``tokens`` are passed only if it declares them."""
    constructor = getattr(partial, "func", partial)
    parameters = inspect.signature(constructor).parameters
    for optional in ("vocabulary", "tokens"):
        if optional not in parameters:
            arguments.pop(optional, None)
    try:
        return partial(**arguments)
    except TypeError as error:
        name = getattr(constructor, "__name__", str(partial))
        raise ValueError(f"{name} cannot be set up as configured: {error}") from error


def as_config(plain: Mapping[str, Any]) -> DictConfig:
    """The configuration stored as plain dictionaries in a bundle or a run folder."""
    config = OmegaConf.create(dict(plain))
    assert isinstance(config, DictConfig)
    return config


def as_plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dictionaries, lists and scalars, suitable for ``torch.save``."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _is_misconfigured(cause: BaseException | None) -> bool:
    """Whether a constructor failed because of its arguments, or because a package or device is not available."""
    # Lightning's exception is recognized by name because this module does not import Lightning.
    lightning = any(kind.__name__ == "MisconfigurationException" for kind in type(cause).__mro__)
    return lightning or isinstance(cause, TypeError | ModuleNotFoundError)


def _failed_key(error: InstantiationException) -> str:
    """The configuration key that failed, or its target if Hydra reports no key.  Both appear only in the message."""
    message = str(error)
    for pattern in (r"^full_key: (.+)$", r"target '(.+)'"):
        if match := re.search(pattern, message, re.MULTILINE):
            return match[1]
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


def user_packages() -> tuple[str, ...]:
    """The packages that the user trusts: the environment variable LIGHTRNN_TRUSTED_PACKAGES."""
    names = os.environ.get("LIGHTRNN_TRUSTED_PACKAGES", "").split(",")
    return tuple(name.strip() for name in names if name.strip())


def object_at(path: str) -> Any:
    """The class or function with the given path, which must be trusted.

    Raises:
        ValueError: If it is not defined in a trusted package.
    """
    _check_target(path)
    return hydra.utils.get_object(path)


def _check_target(target: str) -> None:
    trusted = (*TRUSTED_PACKAGES, *user_packages())
    if is_in_packages(target, trusted):
        resolved = hydra.utils.get_object(target)
        # A trusted module may import untrusted objects (lightrnn_pl.files.os.system), so check where it is defined.
        defined_in = str(getattr(resolved, "__module__", None) or type(resolved).__module__)
        if is_in_packages(defined_in, trusted):
            return
    raise ValueError(
        f"_target_: {target} is not defined in a trusted package ({', '.join(trusted)}); if you trust it, add its "
        "package to the environment variable LIGHTRNN_TRUSTED_PACKAGES"
    )


def is_in_packages(name: str, packages: Sequence[str]) -> bool:
    """Whether a module or an object is in one of the packages, by its full name."""
    return any(name == package or name.startswith(package + ".") for package in packages)
