"""``lightrnn-ngram``: estimation, pruning, evaluation, next words, and KenLM's build_binary."""

import json
import stat
import sys

import numpy as np
import pytest

from lightrnn_pl.cli.entry_points import ngram as main
from lightrnn_pl.ngrams.arpa import read_arpa
from lightrnn_pl.ngrams.members import estimate_member
from lightrnn_pl.ngrams.next_words import most_likely
from lightrnn_pl.vocabulary import VocabularyRules


@pytest.fixture
def ngram(tiny_text, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; returns its report and its output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["lightrnn-ngram", "json=report.json", *arguments])
        main()
        return json.loads((tmp_path / "report.json").read_text()), "".join(capsys.readouterr())

    return run


def test_every_step_has_a_progress_display(ngram, tiny_text, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    text = tiny_text["test"]
    _, output = ngram(f"train={tiny_text['train']}", "order=2", "output=kn.arpa", "prune=1e-4", f"text={text}")
    for step in ("lines read", "lines encoded", "estimating a 2-gram", "pruning", "writing kn.arpa", f"scoring {text}"):
        assert step in output, step
    assert "reading kn.arpa" in ngram("arpa=kn.arpa")[1]


def test_estimates_evaluates_and_prunes(ngram, tiny_text, tmp_path):
    text = f"text={tiny_text['test']}"
    report, output = ngram(f"train={tiny_text['train']}", "order=3", "output=kn.arpa.gz", text, "keyboard=true")
    lines = [line.split() for line in tiny_text["train"].read_text().splitlines()]
    counts = {}
    for word in [word for line in lines for word in [*line, "</s>"]]:
        counts[word] = counts.get(word, 0) + 1
    vocabulary = VocabularyRules(end="</s>").build(counts)
    tokens, test = (
        np.concatenate(
            [vocabulary.encode([*line.split(), "</s>"]) for line in tiny_text[split].read_text().splitlines()]
        )
        for split in ("train", "test")
    )
    member = estimate_member(tokens, vocabulary, 3, "own")
    assert report["text"]["perplexity"] == pytest.approx(np.exp(-member.log_probabilities(test).mean()))
    assert report["ngrams"] == member.details["ngrams"]
    assert report["text"]["keyboard"]["total"]["words"] == len(test) - 60
    assert f"perplexity {report['text']['perplexity']:.2f}" in output and "top 3" in output
    again, _ = ngram("arpa=kn.arpa.gz", text, "keyboard=true", "keyboard_words=null")
    assert again["text"]["perplexity"] == pytest.approx(report["text"]["perplexity"], rel=1e-5)
    assert again["text"]["keyboard"]["total"] == pytest.approx(report["text"]["keyboard"]["total"], abs=1e-9)
    limited, _ = ngram("arpa=kn.arpa.gz", text, "keyboard=true", "keyboard_words=70")  # not a multiple of the blocks
    assert limited["text"]["keyboard"]["total"]["words"] == (test[:70] != vocabulary.end_id).sum()
    pruned, _ = ngram("arpa=kn.arpa.gz", text, "prune=1e-4", "output=small.arpa")
    assert sum(pruned["ngrams"]) < sum(report["ngrams"]) and pruned["text"]["perplexity"] > 1
    assert read_arpa(tmp_path / "small.arpa").num_ngrams == pruned["ngrams"]
    _, output = ngram("arpa=kn.arpa.gz", "next=3", "prompt=w01 w04", "prefix=w")
    ids = vocabulary.encode(["w01", "w04"])
    expected = most_likely(member.next_log_probabilities(ids.astype(np.int64)), vocabulary, 3, "w")
    assert [line.split("\t")[0] for line in output.splitlines()] == list(expected.words)
    _, output = ngram("arpa=kn.arpa.gz", "next=3", "prompt=w01 never", "prefix=x")
    assert output == "not in the vocabulary, read as <unk>: never\nno word of the vocabulary starts with x\n"


def test_writes_kenlm_files_with_build_binary(ngram, tiny_text, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "build_binary"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > "$9"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    report, _ = ngram(f"train={tiny_text['train']}", "order=2", "binary=kn.binary", "quantize=6")
    written = (tmp_path / "kn.binary").read_text()
    assert written.startswith("-q 6 -b 6 -a 64 trie ") and report["bytes"] == {"kn.binary": len(written)}
    program.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    with pytest.raises(SystemExit):
        ngram(f"train={tiny_text['train']}", "order=2", "binary=kn.binary")


def test_texts_and_prompts_are_tokenized_on_request(ngram, tmp_path):
    (tmp_path / "raw.txt").write_text("They don't sit.\nThe 3 cats, they don't.\n" * 9)
    (tmp_path / "tokenized.txt").write_text("they do n't sit\nthe N cats they do n't\n" * 9)
    next_words = ["order=2", "next=3", "text=raw.txt"]
    raw = ngram("train=raw.txt", "tokenizer=ptb", 'prompt="They don\'t"', *next_words)
    next_words[-1] = "text=tokenized.txt"
    tokenized = ngram("train=tokenized.txt", 'prompt="they do n\'t"', *next_words)
    assert raw[1] == tokenized[1] and {**raw[0], "text": None} == {**tokenized[0], "text": None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pass train=TEXT to estimate a model, or arpa=FILE"),
        (["arpa=a.arpa", "order=3"], "order=3 applies to train=TEXT"),
        (["train=nowhere.txt"], "train=nowhere.txt is not a file"),
        (["train=train.txt", "prune=-1"], "prune must be a number greater than or equal to 0"),
        (["train=train.txt", "prefix=a"], "prefix=a requires next=N"),
        (["train=train.txt", "keyboard=true"], "keyboard=True requires text=FILE"),
        (["train=train.txt", "binary=x"], "binary=x requires build_binary of KenLM on the PATH"),
        (["train=train.txt", "output=train.txt"], "output=train.txt is already used"),
    ],
)
def test_errors_are_one_line(ngram, tmp_path, capsys, monkeypatch, arguments, message):
    (tmp_path / "train.txt").write_text("a b\n")
    (tmp_path / "a.arpa").write_text("")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as end:
        ngram(*arguments)
    errors = capsys.readouterr().err
    assert end.value.code == 2 and f"error: {message}" in errors and "Traceback" not in errors
