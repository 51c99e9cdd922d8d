"""``lightrnn-generate``, run in this process to save time."""

import io
import os
import subprocess
import sys

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import as_config, build_model
from lightrnn_pl.checkpoint import Bundle, load
from lightrnn_pl.cli.entry_points import generate as main
from lightrnn_pl.cli.hydra_arguments import _with_quoted_text as quoted
from lightrnn_pl.vocabulary import VocabularyRules
from tests.scripts import heavy_imports
from tests.tiny_model import CONFIG


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    vocabulary = VocabularyRules().build({"the": 50, "cat": 7, "sat": 6, "on": 5, "mat": 4, "<eos>": 9})
    config = as_config(CONFIG)
    model = build_model(config, WordAllocation.random(len(vocabulary), (3, 3), seed=1), vocabulary).eval()
    path = tmp_path_factory.mktemp("model") / "best.ckpt"
    Bundle(model, vocabulary, config, {"end": "<eos>"}).save(path)
    return path


@pytest.fixture
def generate(saved, monkeypatch, capsys):
    def run(*arguments: str, piped: bytes | None = b"", checkpoint=saved):
        monkeypatch.setattr(sys, "argv", ["lightrnn-generate", f"checkpoint={checkpoint}", *arguments])
        monkeypatch.setattr(sys, "stdin", None if piped is None else io.TextIOWrapper(io.BytesIO(piped)))
        main()
        return capsys.readouterr()

    return run


def test_continues_a_prompt_like_the_bundle(generate, saved):
    lm = load(saved)
    for arguments, options in (
        (["words=6"], {}),
        (["words=6", "temperature=0.7", "samples=3", "seed=5"], {"temperature": 0.7, "samples": 3, "seed": 5}),
        (["words=6", "top_k=2", "stop=false"], {"top_k": 2, "stop": False}),
        (["words=6", "top_p=0.5", "unknown=true"], {"top_p": 0.5, "unknown": True}),
        (["words=6", "beams=3"], {"beams": 3}),
    ):
        expected = [f"the cat {continuation.text}".strip() for continuation in lm.generate("the cat", 6, **options)]
        captured = generate("prompt=the cat", *arguments)
        assert captured.out.splitlines() == expected and captured.err == ""


def test_prints_the_next_words(generate, saved):
    captured = generate("prompt=the dog", "next=3")
    prediction = load(saved).next_words("the dog", 3)
    words, probabilities = zip(*(line.split("\t") for line in captured.out.splitlines()), strict=True)
    assert list(words) == list(prediction.words)
    assert [float(probability) for probability in probabilities] == pytest.approx(prediction.probabilities, 1e-5)
    assert "read as <unk>: dog" in captured.err and "evaluated 3 of 3 rows of the word table" in captured.err


def test_next_words_of_several_prompts_are_separated(generate):
    captured = generate("next=2", "prefix=m", piped=b"the\non the\n")
    (first, second), separators = captured.out.splitlines()[::2], captured.out.splitlines()[1::2]
    assert first.startswith("mat\t") and second.startswith("mat\t") and first != second and separators == ["", ""]


def test_reports_that_no_word_starts_with_the_letters(generate):
    captured = generate("prompt=the", "next=2", "prefix=mx")
    assert captured.out == "" and captured.err == "no word of the vocabulary starts with mx\n"


def test_reads_prompts_from_a_pipe_each_with_its_own_seed(generate, saved):
    lm = load(saved)
    captured = generate("words=5", "seed=7", piped=b"the cat\r\n\nthe cat\n")
    expected = [
        f"{prompt} {lm.generate(prompt, 5, seed=seed)[0].text}".strip()
        for seed, prompt in ((7, "the cat"), (8, ""), (9, "the cat"))
    ]
    assert captured.out.splitlines() == expected


def test_an_interactive_session_continues_after_an_error(generate, saved, monkeypatch):
    lm = load(saved)

    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    def answer(prompt):
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr(io, "TextIOWrapper", Terminal)
    typed = iter(["the cat", "on the"])
    captured = generate("words=4")
    expected = [
        f"{prompt} {lm.generate(prompt, 4, seed=seed)[0].text}".strip()
        for seed, prompt in enumerate(("the cat", "on the"))
    ]
    assert captured.out.splitlines() == expected and "end with Ctrl-D" in captured.err
    typed = iter(["the cat", "on the"])
    captured = generate("top_k=0")
    assert (
        captured.out == ""
        and captured.err.count("error: top_k must be an integer greater than or equal to 1, got 0") == 2
    )


@pytest.mark.parametrize(
    "prompt",
    ["l'eau , je", "\"so\" ' \\ \\' [a, b] {c: d}", "a=b", "1984", "true", "${name} $x", "ends with \\", "", "null"],
)
def test_a_prompt_needs_no_quoting(prompt):
    override = OverridesParser.create().parse_override(quoted(f"prompt={prompt}"))
    value = OmegaConf.create({"prompt": override.value()}).prompt
    assert value == (None if prompt == "null" else prompt)
    assert quoted("prompt='the, cat'") == "prompt='the, cat'" and quoted("words=3") == "words=3"


def test_errors_are_one_line(generate, saved, capsys):
    for arguments, message in (
        (["prompt=a", "beams=2", "top_k=3"], "top_k=3 applies to sampling, not to beam search; omit it or beams=2"),
        (["prompt=a", "beams=2", "samples=3"], "omit samples=3"),
        (["prompt=a", "temperature=-1"], "temperature must be 0"),
        (["prompt=a", "next=many"], "k must be an integer greater than or equal to 1, got many"),
        (["prompt=a", "words=0"], "num_words must be an integer greater than or equal to 1, got 0"),
        (["prompt=a", "next=2", "search=wide"], "search='wide' is not a valid search method"),
        (["prompt=a", "next=2", "temperature=0.5"], "temperature=0.5 applies to continuations, but next=2 prints"),
        (["prompt=a", "next=2", "samples=3"], "samples=3 applies to continuations"),
        (["prompt=a", "search=greedy"], "search=greedy applies to next words only; pass next=N"),
        (["prompt=a", "device=tpu"], "device=tpu is not available on this machine"),
        (["prompt=a", "seed=first"], "seed must be an integer"),
        (["words=0"], "standard input, line 1: num_words must be"),
    ):
        with pytest.raises(SystemExit) as end:
            generate(*arguments, piped=b"the\n")
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert end.value.code == 2 and len(errors) == 1 and message in errors[0] and captured.out == ""


@pytest.mark.parametrize(
    ("piped", "message"), [(None, "standard input is closed"), (b"\xff", "standard input, line 1: not UTF-8")]
)
def test_rejects_invalid_standard_input(generate, capsys, piped, message):
    with pytest.raises(SystemExit) as end:
        generate("next=2", piped=piped)
    assert end.value.code == 2 and capsys.readouterr().err.startswith(f"error: {message}")


def test_stops_quietly_when_the_reader_closes_the_pipe(saved, commands, tmp_path):
    command = [commands / "lightrnn-generate", f"checkpoint={saved}", "words=2"]
    done = subprocess.run(
        ["bash", "-c", 'yes the cat | head -n 5000 | "$@" | head -n 1; echo ${PIPESTATUS[2]}', "bash", *command],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == "" and done.stdout.splitlines()[1:] == ["0"]


def test_help_does_not_import_torch(tmp_path):
    script = heavy_imports("generate", "--help", packages=("torch", "pytorch_lightning"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "usage: lightrnn-generate" in done.stdout and "HEAVY []" in done.stdout, done.stderr


def test_prompts_are_tokenized_on_request(generate, saved):
    expected = generate("prompt=the cat sat", "next=3")
    captured = generate("prompt=The cat, sat.", "next=3", "tokenizer=ptb")
    assert captured == expected
    assert generate("prompt=The cat,", "words=2", "stop=false", "tokenizer=ptb").out.startswith("The cat, ")
    with pytest.raises(SystemExit):
        generate("prompt=the", "tokenizer=bpe")
