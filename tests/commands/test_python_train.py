"""``lightrnn_pl.train``, and the other names of the package."""

import json
import logging

import pytest

import lightrnn_pl
from lightrnn_pl.commands.evaluate import evaluate
from lightrnn_pl.commands.export import export
from lightrnn_pl.commands.generate import generate
from tests.composition import composed
from tests.training.runs import SMALL, compose_run


def test_trains_like_the_command_and_returns_the_best_model(tiny_text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = [f"data.{split}={path}" for split, path in tiny_text.items()]
    small = [override for override in SMALL if not override.startswith("name=")]
    overrides = [*small, "data=text", *files, f"paths.cache_dir={tmp_path / 'cache'}", "debug=step"]
    bundle = lightrnn_pl.train(overrides, run_dir="my run")
    metrics = json.loads((tmp_path / "my run" / "metrics.json").read_text())
    assert metrics["status"] == "completed" and metrics["name"] == "lightrnn-text"
    assert len(bundle.vocabulary) == metrics["vocabulary"] and len(bundle.next_words("w01", 3)) == 3
    assert repr(bundle) == (
        f"Bundle(MultiComponentEmbedding, LSTMCore, MultiComponentOutput, words={metrics['vocabulary']}, "
        f"parameters={metrics['parameters']:,}, valid_perplexity={metrics['history'][-1]['valid_perplexity']:.1f})"
    )
    # Without a folder, it selects one as the command does.  It prints the same lines.
    monkeypatch.setattr(logging.getLogger("lightrnn_pl"), "propagate", False)  # to the handlers of pytest
    capsys.readouterr()
    lightrnn_pl.train(overrides)
    output = capsys.readouterr().out
    for line in ("run lightrnn-text, seed 0", "validation perplexity", "result, with perplexities", "run folder: "):
        assert line in output
    assert not logging.getLogger("lightrnn_pl").handlers
    lightrnn_pl.train(overrides, run_dir="my run")
    output = capsys.readouterr().out
    assert "already complete" in output and "lightrnn-text" in output and "my run" not in output
    (run,) = (tmp_path / "outputs" / "lightrnn-text").iterdir()
    assert (run / "best.ckpt").is_file()
    expected = lightrnn_pl.load(run).model.state_dict()
    from lightrnn_pl.training.experiment import train

    train(compose_run(tmp_path / "run", tiny_text, "debug=step", "name=lightrnn-text"))
    for name, values in lightrnn_pl.load(tmp_path / "run").model.state_dict().items():
        assert values.equal(expected[name])


def command_config(name, *overrides):
    return composed(name, *overrides, *(["device=cpu"] if name != "export" else []))


def test_a_model_reads_texts_like_its_training_text(tmp_path, monkeypatch, capsys):
    """The tokenizer is stored with the model, and can be replaced when the model is used."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw.txt").write_text("They don't sit.\nThe firm's 3 shares fell 5%.\n" * 40)
    small = [override for override in SMALL if not override.startswith("name=")]
    data = ["data=text", "data.train=raw.txt", "data.valid=raw.txt", "data.test=null", "data.tokenizer=ptb"]
    bundle = lightrnn_pl.train([*small, *data, "debug=step"], run_dir="run")
    assert bundle.tokenizer == "ptb" and bundle.tokenize("They don't, 3") == ["they", "do", "n't", "N"]
    same = lightrnn_pl.load("run", tokenizer="whitespace")
    raw, tokenized = "They don't sit.", "they do n't sit"
    assert bundle.score([raw]) == same.score([tokenized]) != same.score([raw])
    assert bundle.next_words(raw, 3) == bundle.next_words([raw], 3)[0] == same.next_words(tokenized, 3)
    for options in ({"samples": 2}, {"beams": 2}):
        assert bundle.generate(raw, 4, **options) == same.generate(tokenized, 4, **options)
    capsys.readouterr()
    generate(command_config("generate", "checkpoint=run", f'prompt="{raw}"', "next=3"))
    printed = capsys.readouterr()
    assert [line.split("\t")[0] for line in printed.out.splitlines()] == list(same.next_words(tokenized, 3).words)
    assert "not in the vocabulary" not in printed.err

    export(command_config("export", "checkpoint=run", "output=folder", "valid=null"))
    assert lightrnn_pl.load("folder").tokenizer == "ptb"

    (tmp_path / "tokenized.txt").write_text("they do n't sit\nthe firm 's N shares fell N N\n" * 40)
    reports = [
        evaluate(command_config("evaluate", "checkpoint=run", *overrides))
        for overrides in (["splits=[valid]"], ["text=raw.txt"], ["text=tokenized.txt", "tokenizer=whitespace"])
    ]
    assert [report["protocol"]["tokenizer"] for report in reports] == ["ptb", "ptb", "whitespace"]
    losses = [split["nll"] for report in reports for split in report["splits"].values()]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and losses[0] == pytest.approx(losses[2], abs=1e-6)


def test_invalid_overrides_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"data.train is required"):
        lightrnn_pl.train(["data=text"])


def test_names_of_the_package():
    assert lightrnn_pl.__version__.startswith("0.") and {"load", "train", "Bundle", "__version__"} <= set(
        dir(lightrnn_pl)
    )
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = lightrnn_pl.trane
