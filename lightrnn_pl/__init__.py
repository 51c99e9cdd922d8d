"""Compact word-level language models with very large vocabularies: LightRNN and slim embeddings.

Train a model with ``lightrnn-train``, then load the bundle that the run writes:

>>> from lightrnn_pl import load
>>> bundle = load("outputs/my-run/best.ckpt")  # doctest: +SKIP
>>> bundle.score(["a sentence ."])  # log-probability of each word  # doctest: +SKIP
>>> bundle.next_words("the cat sat on the", k=5)  # most likely next words  # doctest: +SKIP
>>> bundle.generate("the cat", num_words=20)  # sampled continuations  # doctest: +SKIP

:class:`Bundle` documents all of its methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightrnn_pl.checkpoint import Bundle, load

__all__ = ["Bundle", "load"]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds. Commands must answer --help without it.
    if name in __all__:
        from lightrnn_pl import checkpoint

        return getattr(checkpoint, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
