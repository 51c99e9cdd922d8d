"""Compact word-level language models with very large vocabularies: LightRNN and slim embeddings.

>>> from lightrnn_pl import load
>>> load("outputs/my-run/best.ckpt").score(["a sentence ."])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightrnn_pl.checkpoint import Bundle, load

__all__ = ["Bundle", "load"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; commands answer --help before they need it.
    if name in __all__:
        from lightrnn_pl import checkpoint

        return getattr(checkpoint, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
