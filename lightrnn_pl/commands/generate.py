"""``lightrnn-generate``: continue a text, or print its most likely next words.

Prompts are read from the command line, line by line from a pipe, or interactively from a terminal.  Only the results go
to standard output, so that another program can read them; messages go to standard error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lightrnn_pl.checks import check_flag
from lightrnn_pl.commands.next_word_output import print_message, print_next_words, report_unknown_words
from lightrnn_pl.commands.unused_options import check_unused

if TYPE_CHECKING:
    from lightrnn_pl.checkpoint import Bundle
    from lightrnn_pl.ngrams.next_words import Mixture


def generate(config: DictConfig) -> None:
    """Continue ``config.prompt``, or each line of standard input, with ``config.checkpoint``."""
    import torch

    from lightrnn_pl.checkpoint import load, resolve_checkpoint, resolve_device
    from lightrnn_pl.inference.text_lines import STANDARD, is_interactive, text_lines

    _check(config)
    bundle = load(resolve_checkpoint(config.checkpoint), resolve_device(config.device), config.tokenizer)
    mixture = None if config.interpolate is None else _mixture(config, bundle)
    seed = torch.seed() % 2**31 if config.seed is None else config.seed
    if config.prompt is not None:
        _print_result(bundle, mixture, config, str(config.prompt), seed)
        return
    interactive = is_interactive()
    for number, prompt in enumerate(_interactive_prompts() if interactive else text_lines(STANDARD)):
        try:
            _print_result(bundle, mixture, config, prompt, seed + number)
        except ValueError as error:
            if not interactive:
                raise ValueError(f"standard input, line {number + 1}: {error}") from error
            print_message(f"error: {error}")
        if config.next is not None and not interactive:
            print(flush=True)  # separates the next words of different prompts


def _check(config: DictConfig) -> None:
    """Check that no option is set that would be ignored.

    Raises:
        ValueError: Naming the option.
    """
    check_flag("unknown", config.unknown)
    if config.next is None:
        reason = "applies to next words only; pass next=N, or omit this"
        check_unused(config, reason, search="exact", prefix=None, interpolate=None, weights=None)
        return
    if config.interpolate is None:
        check_unused(config, "requires interpolate=...; pass it, or omit this", weights=None)
    elif config.search != "exact":
        raise ValueError(f"search={config.search} cannot be combined with interpolate; omit one of them")
    check_unused(
        config,
        f"applies to continuations, but next={config.next} prints next words only; omit one of them",
        **{"temperature": None, "top_k": None, "top_p": None, "beams": None, "samples": 1},
        **{"words": 20, "seed": 0, "stop": True},
    )


def _mixture(config: DictConfig, bundle: Bundle) -> Mixture:
    """The model and the n-gram files or caches of ``config.interpolate``, with ``config.weights``."""
    from lightrnn_pl.ngrams.interpolation import CacheMember
    from lightrnn_pl.ngrams.members import read_member
    from lightrnn_pl.ngrams.next_words import Mixture

    names = config.interpolate if OmegaConf.is_list(config.interpolate) else [config.interpolate]
    if config.weights is None:
        raise ValueError(
            "interpolate requires weights=[model,...], one for the model and one for each of interpolate; "
            "lightrnn-evaluate interpolate=... prints the best ones"
        )
    vocabulary = bundle.vocabulary
    members = [
        CacheMember(vocabulary, 500, 1.0) if name == "cache" else read_member(name, vocabulary) for name in names
    ]
    return Mixture(bundle, members, list(config.weights))


def _print_result(bundle: Bundle, mixture: Mixture | None, config: DictConfig, prompt: str, seed: int) -> None:
    report_unknown_words(bundle.tokenize(prompt), bundle.vocabulary)
    if config.next is not None:
        prefix = "" if config.prefix is None else str(config.prefix)
        if mixture is not None:
            prediction = mixture.next_words(prompt, config.next, prefix, config.unknown)
        else:
            prediction = bundle.next_words(prompt, config.next, config.search, prefix=prefix, unknown=config.unknown)
        print_next_words(prediction, prefix)
        sides = bundle.model.allocation.sides
        if len(sides) == 2 and prediction.rows_opened:
            print_message(f"evaluated {prediction.rows_opened} of {sides[0]} rows of the word table")
        return
    options: dict[str, Any] = {
        key: config[key] for key in ("temperature", "top_k", "top_p", "beams", "samples", "stop", "unknown")
    }
    for continuation in bundle.generate(prompt, config.words, seed=seed, **options):
        print(f"{prompt} {continuation.text}".strip(), flush=True)


def _interactive_prompts() -> Iterator[str]:
    """Lines typed until the end of input; with a history if readline is available."""
    with suppress(ImportError):
        import readline  # noqa: F401  # input() uses it once it is imported
    print_message("type a text; end with Ctrl-D")
    while True:
        try:
            yield input("> ")
        except EOFError:
            print_message("")
            return
