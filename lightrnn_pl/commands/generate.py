"""``lightrnn-generate``: continue a text, or tell its most likely next words.

Prompts come from the command line, from a pipe line by line, or are typed at a terminal.  Standard output has the
answers only, so that it can be read by the next program; all else goes to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

if TYPE_CHECKING:
    from lightrnn_pl.checkpoint import Bundle


def generate(config: DictConfig) -> None:
    """Answer ``config.prompt``, or each line of standard input, with ``config.checkpoint``."""
    import torch

    from lightrnn_pl.checkpoint import load, named_checkpoint, named_device
    from lightrnn_pl.inference.text_lines import STANDARD, by_hand, text_lines

    _check(config)
    bundle = load(named_checkpoint(config.checkpoint), named_device(config.device))
    seed = torch.seed() % 2**31 if config.seed is None else config.seed
    if config.prompt is not None:
        _answer(bundle, config, str(config.prompt), seed)
        return
    typed = by_hand()
    for number, prompt in enumerate(_typed() if typed else text_lines(STANDARD)):
        try:
            _answer(bundle, config, prompt, seed + number)
        except ValueError as error:
            if not typed:
                raise ValueError(f"standard input, line {number + 1}: {error}") from error
            _note(f"error: {error}")


def _check(config: DictConfig) -> None:
    """Refuse options that the answer would pass over in silence."""
    if config.next is None:
        if config.search != "exact":
            raise ValueError(f"search={config.search} is a way to find next words; give next=..., or leave it out")
        return
    for name, left_out in (("temperature", None), ("top_k", None), ("top_p", None), ("beams", None), ("samples", 1)):
        if config[name] != left_out:
            raise ValueError(
                f"{name}={config[name]} is for continuations, and next={config.next} prints next words only; omit "
                "one of them"
            )


def _answer(bundle: Bundle, config: DictConfig, prompt: str, seed: int) -> None:
    vocabulary = bundle.vocabulary
    unknown = [word for word in dict.fromkeys(prompt.split()) if word not in vocabulary]
    if unknown and vocabulary.unknown is not None:
        _note(f"not in the vocabulary, read as {vocabulary.unknown}: {' '.join(unknown)}")
    if config.next is not None:
        prediction = bundle.next_words(prompt, config.next, config.search)
        for word, probability in prediction:
            print(f"{word}\t{probability:.6g}")
        if prediction.rows_opened:
            _note(f"{prediction.rows_opened} of {bundle.model.allocation.sides[0]} rows opened")
        sys.stdout.flush()
        return
    options: dict[str, Any] = {
        key: config[key] for key in ("temperature", "top_k", "top_p", "beams", "samples", "stop", "unknown")
    }
    for continuation in bundle.generate(prompt, config.words, seed=seed, **options):
        print(f"{prompt} {continuation.text}".strip(), flush=True)


def _typed() -> Iterator[str]:
    """What is typed until the end of input; with a history where the platform has readline."""
    with suppress(ImportError):
        import readline  # noqa: F401  # input() uses it once it is imported
    _note("type a text, words separated by spaces; end with Ctrl-D")
    while True:
        try:
            yield input("> ")
        except EOFError:
            _note("")
            return


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
