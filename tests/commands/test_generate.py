"""``lightrnn-generate`` as people type it; in this process, to save seconds."""

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
from lightrnn_pl.cli.arguments import _quoted as quoted
from lightrnn_pl.cli.commands import generate as main
from lightrnn_pl.vocabulary import VocabularyRules
from tests.scripts import heavy_imports, script
from tests.test_checkpoint import CONFIG


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


def test_continues_a_prompt_as_the_bundle_does(generate, saved):
    lm = load(saved)
    for arguments, options in (
        (["words=6"], {}),
        (["words=6", "temperature=0.7", "samples=3", "seed=5"], {"temperature": 0.7, "samples": 3, "seed": 5}),
        (["words=6", "top_k=2", "stop=false"], {"top_k": 2, "stop": False}),
        (["words=6", "top_p=0.5", "unknown=true"], {"top_p": 0.5, "unknown": True}),
        (["words=6", "beams=3"], {"beams": 3}),
    ):
        expected = [f"the cat {made.text}".strip() for made in lm.generate("the cat", 6, **options)]
        told = generate("prompt=the cat", *arguments)
        assert told.out.splitlines() == expected and told.err == ""


def test_tells_the_next_words(generate, saved):
    told = generate("prompt=the dog", "next=3")
    prediction = load(saved).next_words("the dog", 3)
    assert [line.split("\t")[0] for line in told.out.splitlines()] == list(prediction.words)
    assert [float(line.split("\t")[1]) for line in told.out.splitlines()] == pytest.approx(
        prediction.probabilities, 1e-5
    )
    assert "read as <unk>: dog" in told.err and "3 of 3 rows opened" in told.err


def test_reads_prompts_from_a_pipe_each_with_a_seed_of_its_own(generate, saved):
    lm = load(saved)
    told = generate("words=5", "seed=7", piped=b"the cat\r\n\nthe cat\n")
    expected = [
        f"{prompt} {lm.generate(prompt, 5, seed=seed)[0].text}".strip()
        for seed, prompt in ((7, "the cat"), (8, ""), (9, "the cat"))
    ]
    assert told.out.splitlines() == expected


def test_a_terminal_goes_on_after_a_mistake(generate, saved, monkeypatch):
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
    told = generate("words=4")
    expected = [
        f"{prompt} {lm.generate(prompt, 4, seed=seed)[0].text}".strip()
        for seed, prompt in enumerate(("the cat", "on the"))
    ]
    assert told.out.splitlines() == expected and "end with Ctrl-D" in told.err
    typed = iter(["the cat", "on the"])
    told = generate("top_k=0")
    assert told.out == "" and told.err.count("error: top_k must be a whole number of at least 1, got 0") == 2


@pytest.mark.parametrize(
    "prompt",
    ["l'eau , je", "\"so\" ' \\ \\' [a, b] {c: d}", "a=b", "1984", "true", "${name} $x", "ends with \\", "", "null"],
)
def test_a_prompt_is_taken_as_it_stands(prompt):
    override = OverridesParser.create().parse_override(quoted(f"prompt={prompt}"))
    value = OmegaConf.create({"prompt": override.value()}).prompt
    assert value == (None if prompt == "null" else prompt)
    assert quoted("prompt='the, cat'") == "prompt='the, cat'" and quoted("words=3") == "words=3"


def test_errors_are_one_line(generate, saved, capsys):
    for arguments, message in (
        (["prompt=a", "beams=2", "top_k=3"], "top_k=3 is for drawing words, and beams=2 draws none"),
        (["prompt=a", "beams=2", "samples=3"], "leave samples=3 out"),
        (["prompt=a", "temperature=-1"], "temperature must be 0"),
        (["prompt=a", "next=many"], "k must be a whole number of at least 1, got many"),
        (["prompt=a", "words=0"], "num_words must be a whole number of at least 1, got 0"),
        (["prompt=a", "next=2", "search=wide"], "search='wide' is not a valid search method"),
        (["prompt=a", "next=2", "temperature=0.5"], "temperature=0.5 is for continuations, and next=2 prints next"),
        (["prompt=a", "next=2", "samples=3"], "samples=3 is for continuations"),
        (["prompt=a", "search=greedy"], "search=greedy is a way to find next words; give next="),
        (["prompt=a", "device=tpu"], "device=tpu is not available on this machine"),
        (["prompt=a", "seed=first"], "seed must be a whole number"),
        (["words=0"], "standard input, line 1: num_words must be"),
    ):
        with pytest.raises(SystemExit) as end:
            generate(*arguments, piped=b"the\n")
        told = capsys.readouterr()
        errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
        assert end.value.code == 2 and len(errors) == 1 and message in errors[0] and told.out == ""


@pytest.mark.parametrize(
    ("piped", "message"), [(None, "standard input is closed"), (b"\xff", "standard input, line 1: not UTF-8")]
)
def test_what_is_no_input_is_told(generate, capsys, piped, message):
    with pytest.raises(SystemExit) as end:
        generate("next=2", piped=piped)
    assert end.value.code == 2 and capsys.readouterr().err.startswith(f"error: {message}")


def test_whoever_has_read_enough_may_go(saved, tmp_path):
    command = [script("generate"), f"checkpoint={saved}", "words=2"]
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


def test_help_needs_no_torch(tmp_path):
    script = heavy_imports("generate", "--help", packages=("torch", "pytorch_lightning"))
    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "usage: lightrnn-generate" in told.stdout and "HEAVY []" in told.stdout, told.stderr
