"""Builds the model of a bundle from its configuration and its weights.

A bundle may come from an untrusted source, so nothing in its configuration is instantiated by Hydra.  A ``_target_``
must be the path of a class that implements the required contract (``Embedding``, ``Core``, ``Output``, ``Loss``,
``SubvectorMap``, ``WordClasses``) and is defined in this package, or in a package that the user lists in the
environment variable LIGHTRNN_TRUSTED_PACKAGES.  Nothing else is imported or called.  Every argument is checked against
the annotation of the constructor, and the constructors can only create parameters of the shapes that are stored.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import sys
import threading
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.argument_types import argument_types, check_type, short, takes_options
from lightrnn_pl.building import assemble_model, is_in_packages, user_packages
from lightrnn_pl.checks import one_line
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs.classes import SavedClasses, WordClasses
from lightrnn_pl.vocabulary import Vocabulary

PACKAGE = __name__.partition(".")[0]

_FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randperm, torch.arange)
"""The functions by which constructors create tensors."""

_MIN_ELEMENTS = 2**16
"""Tensors up to this size are always allowed, because parts may create small constants."""

_MAX_REPLACED = 64
"""Parameters of a tied model that may be replaced; an output has one matrix per band of words."""


class UntrustedPackageError(ValueError):
    """A class of a configuration is not defined in a trusted package."""


def restore_model(
    config: Mapping[str, Any], allocation: WordAllocation, vocabulary: Vocabulary, state: Mapping[str, Tensor]
) -> LanguageModel:
    """The model with the given configuration and weights, in training mode, on the CPU.

    Args:
        config: The configuration of the bundle, without interpolations.
        allocation: The codes of the words.
        vocabulary: The words of the model.
        state: Its ``state_dict``.

    Raises:
        UntrustedPackageError: If the configuration selects a class of a package that the user does not trust.
        ValueError: If the configuration refers to anything but parts of a model, has an argument of the wrong type, or
            contradicts the weights.
    """
    settings = config["model"]
    try:
        with _only_stored_tensors(state, allocation, settings["tied"]):
            model = assemble_model(settings, allocation, vocabulary, constructor_of, initialize=False)
        _allocate(model)
        model.load_state_dict(state)
    except UntrustedPackageError:
        raise
    except Exception as error:  # constructors may raise any exception for values that no training run would accept
        raise ValueError(f"the configuration does not describe the stored model: {one_line(error)}") from error
    for name, tensor in model.state_dict().items():
        stored = state.get(name, tensor)  # a layer may accept bundles of earlier versions, without a part of its state
        # Integers must not be truncated.
        values = (tensor, stored.to(tensor.dtype)) if tensor.is_floating_point() else (tensor.long(), stored.long())
        if not torch.equal(*values):
            raise ValueError(
                f"the configuration does not describe the stored model: with model.tied={settings['tied']}, {name} "
                "has other values than those stored"
            )
    return model


def constructor_of(node: Any, contract: type, key: str) -> partial[Any]:
    """A partial constructor of the class that ``node`` selects.

    Args:
        node: A part of the configuration: ``_target_`` and the arguments of its constructor.
        contract: The class must be a subclass of this class.
        key: The key of ``node``, for messages.

    Raises:
        ValueError: If the class is not allowed, or an argument has the wrong name or type.
    """
    if not isinstance(node, Mapping):
        raise ValueError(f"{key} must select a class with _target_, got {short(node)}")
    part = class_at(node.get("_target_"), contract, key)
    values = {name: value for name, value in node.items() if name not in ("_target_", "_partial_")}
    return partial(part, **_checked_arguments(part, values, key))


def class_at(path: Any, contract: type, key: str) -> type:
    """The class with the given path, which is imported only if the user trusts its package.

    Raises:
        UntrustedPackageError: If ``path`` is not in a trusted package.
        ValueError: If ``path`` is not the path of a class that implements ``contract`` in a trusted package.
    """
    module_name, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    trusted = (PACKAGE, *user_packages())
    if not is_in_packages(module_name, trusted):
        raise UntrustedPackageError(
            f"{key}._target_: {short(path)} is not defined in a trusted package ({', '.join(trusted)}); if you trust "
            "it, add its package to the environment variable LIGHTRNN_TRUSTED_PACKAGES"
        )
    if not is_in_packages(module_name, (PACKAGE,)):
        importlib.import_module(module_name)
    # All modules with parts of models are imported with this module.
    found = vars(sys.modules[module_name]).get(name) if module_name in sys.modules else None
    if not isinstance(found, type) or not issubclass(found, contract) or inspect.isabstract(found):
        raise ValueError(f"{key}._target_: {short(path)} is not a class that implements {contract.__name__}")
    if not is_in_packages(found.__module__, trusted):
        raise ValueError(f"{key}._target_: {short(path)} is defined in {found.__module__}, which is not trusted")
    return found


def _checked_arguments(part: type, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    types = argument_types(part)
    checked = {}
    factories = {name: contract for name, kind in types.items() if (contract := _created_by(kind)) is not None}
    for name, contract in factories.items():
        if name in values:
            checked[name] = constructor_of(values[name], contract, f"{key}.{name}")
            if takes_options(part):  # which are passed to the factory
                types = {**argument_types(checked[name].func), **types}
    for name, value in values.items():
        if name in checked:
            continue
        if name not in types:
            raise ValueError(f"{key}.{name} is not an argument of {part.__name__}")
        checked[name] = _checked(value, types[name], f"{key}.{name}")
    return checked


def _checked(value: Any, kind: Any, key: str) -> Any:
    if (contract := _created_by(kind)) is not None:
        return constructor_of(value, contract, key)
    if kind is WordClasses:
        constructor_of(value, WordClasses, key)()  # checks its arguments
        return SavedClasses()
    check_type(key, value, kind)
    return value


def _created_by(kind: Any) -> type | None:
    """X for the annotation ``Callable[..., X]``."""
    return typing.get_args(kind)[1] if typing.get_origin(kind) is Callable else None


@contextlib.contextmanager
def _only_stored_tensors(state: Mapping[str, Tensor], allocation: WordAllocation, tied: bool) -> Iterator[None]:
    """Refuse parameters that are not stored, and other tensors that are larger than everything that is stored.

    Without this check, a configuration with wrong sizes could use all memory, or create layers for hours.

    The output of a tied model is created with vectors of the size of the hidden state, which those of the embedding
    replace.  They are not stored if these have another size, so a few parameters without memory take their place.

    Raises:
        ValueError: Naming the shape.
    """
    remaining = Counter(tuple(tensor.shape) for tensor in state.values())
    thread, known, num_replaced = threading.get_ident(), set(), 0

    def check(module: nn.Module, name: str, parameter: Tensor | None) -> nn.Parameter | None:
        nonlocal num_replaced
        # Sizes of parameters without elements are known only after loading.  Tied parameters are registered twice.
        if threading.get_ident() != thread or parameter is None or not parameter.numel() or id(parameter) in known:
            return None
        shape = tuple(parameter.shape)
        if remaining[shape]:
            known.add(id(parameter))
            remaining[shape] -= 1
            return None
        num_replaced += 1
        if not tied or num_replaced > _MAX_REPLACED:
            raise ValueError(f"it has a parameter {name} of shape {list(shape)}, which is not stored")
        replacement = nn.Parameter(torch.empty_like(parameter, device="meta"))
        replaced.append(replacement)  # so that its id is not used again
        known.add(id(replacement))
        return replacement

    replaced: list[nn.Parameter] = []
    stored = sum(tensor.numel() for tensor in state.values())
    max_elements = max(_MIN_ELEMENTS, stored, allocation.num_cells)
    if tied:
        # A recurrent core with hidden size H has more than H x H weights.
        max_elements = max(max_elements, allocation.num_words * math.isqrt(stored))
    handle = register_module_parameter_registration_hook(check)  # type: ignore[arg-type]  # it may return a value
    try:
        with _SizeLimit(max_elements):
            yield
    finally:
        handle.remove()


def _allocate(model: nn.Module) -> None:
    """Give memory to parameters that still have none; loading then checks their shapes."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                setattr(module, name, nn.Parameter(torch.empty_like(parameter, device="cpu")))


class _SizeLimit(TorchFunctionMode):
    """Refuses to create tensors with more than ``max_elements`` elements."""

    def __init__(self, max_elements: int) -> None:
        super().__init__()
        self.max_elements = max_elements

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func in _FACTORIES:
            # A permutation has a generator, which tensors without memory do not support.
            planned = args[0] if func is torch.randperm else func(*args, **{**options, "device": "meta"}).numel()
            if planned > self.max_elements:
                raise ValueError(f"it needs a tensor with {planned} elements, but only {self.max_elements} are stored")
        return func(*args, **options)
