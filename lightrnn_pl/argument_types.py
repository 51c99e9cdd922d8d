"""Checks of configured arguments against the annotations of constructors."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lightrnn_pl.checks import shortened

_OPTIONS = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)


@functools.cache
def argument_types(part: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the named arguments of a class or function; ``Any`` for arguments without one."""
    try:
        hints = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
    except NameError:  # names that are imported for type checkers only
        hints = {}
    named = [p.name for p in inspect.signature(part).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return {name: hints.get(name, Any) for name in named}


@functools.cache
def takes_options(part: Callable[..., Any]) -> bool:
    """Whether a class or function has a ``**options`` argument."""
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(part).parameters.values())


def check_type(key: str, value: Any, kind: Any) -> None:
    """Check that ``value`` has the annotated type, without conversion; numbers must be finite.

    Raises:
        ValueError: Naming the key and its value.
    """
    try:
        _adapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"{key}: {error.errors()[0]['msg']}, got {short(value)}") from None


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=_OPTIONS)


def short(value: object) -> str:
    """The value in a message, of limited length."""
    return shortened(value if isinstance(value, str) else repr(value), 80)
