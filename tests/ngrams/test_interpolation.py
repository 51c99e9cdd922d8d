"""A neural model mixed with partners: the same tokens in the same order, weights from validation text alone."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from lightrnn_pl.checkpoint import load
from lightrnn_pl.cli.commands import evaluate as main
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.ngrams.interpolation import scores_in_order
from lightrnn_pl.training.experiment import train
from tests.evaluation.test_perplexity import prepare, slow_scores
from tests.ngrams.slow_kneser_ney import BEGIN, SlowKneserNey
from tests.training.runs import compose_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tiny_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed") / "run"
    train(compose_run(folder, tiny_text, "data.vocabulary.min_count=20", "trainer.max_steps=40"))
    return folder


@pytest.fixture
def evaluate(trained, tmp_path, monkeypatch):
    """``lightrnn-evaluate`` in this process; what it wrote as JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")

    def run(*arguments: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["x", f"checkpoint={trained}", "json=report.json", *arguments])
        main()
        return json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)

    return run


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param([], id="streams"),
        pytest.param(["data.batching=sentence"], id="sentences"),
        pytest.param(["data.vocabulary.begin='<s>'"], id="streams with begin markers"),
        pytest.param(["data.batching=sentence", "data.vocabulary.begin='<s>'"], id="sentences with begin markers"),
    ],
)
def test_scores_come_in_the_order_of_the_text(overrides, tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, *overrides)
    loader = data.loader_for(data.vocabulary, "test")
    found = scores_in_order(model, loader, CPU)
    targets = loader.tokens[loader.tokens != data.vocabulary.begin_id] if loader.ignored is not None else loader.tokens
    measured = measure_perplexity(model, data.loader_for(data.vocabulary, "test"), data.vocabulary, CPU)
    not_end = targets != data.vocabulary.end_id
    assert len(found) == measured.tokens and -found.mean() == pytest.approx(measured.nll)
    assert math.exp(-found[not_end].mean()) == pytest.approx(measured.perplexity_without_end)
    if not overrides:
        wanted, scores = slow_scores(data, model, tiny_text["test"].read_text().splitlines(), streams=3)
        assert np.array_equal(targets, wanted) and np.allclose(found, scores, atol=1e-5)


def test_the_mixture_is_what_its_definition_says(trained, tiny_text, evaluate):
    """With the textbook's Kneser-Ney, a plain loop over the cache, and weights from the report."""
    report = evaluate("interpolate=[kn,cache]", "interpolate_order=3", "cache_words=30")
    mixed = report["interpolation"]
    neural, ngrams, cache = mixed["members"]
    weights = [member["weight"] for member in mixed["members"]]
    assert sum(weights) == pytest.approx(1) and ngrams["estimator"] == "own"
    for split in ("valid", "test"):
        assert neural["splits"][split]["nll"] == pytest.approx(report["splits"][split]["nll"])

    vocabulary = load(trained).vocabulary
    lines = {
        split: [
            [word if word in vocabulary else "<unk>" for word in line.split()] + ["<eos>"]
            for line in tiny_text[split].read_text().splitlines()
        ]
        for split in ("train", "test")
    }
    slow = SlowKneserNey(lines["train"], list(vocabulary.words), 3)
    by_ngrams = [slow.probability(w, (BEGIN, *line[:i])) for line in lines["test"] for i, w in enumerate(line)]
    assert ngrams["splits"]["test"]["nll"] == pytest.approx(-np.log(by_ngrams).mean(), abs=1e-10)
    words = [word for line in lines["test"] for word in line]
    windows = [words[max(0, place - 30) : place] for place in range(len(words))]
    by_cache = [
        seen.count(word) / len(seen) if seen else 1 / len(vocabulary) for word, seen in zip(words, windows, strict=True)
    ]
    assert cache["splits"]["test"]["perplexity"] is None
    assert cache["splits"]["test"]["impossible_tokens"] == by_cache.count(0) > 0
    bundle = load(trained)
    data = prepare(tiny_text, trained.parent / "again", "data.vocabulary.min_count=20")[0]
    by_network = np.exp(scores_in_order(bundle.model, data.loader_for(vocabulary, "test"), CPU))
    combined = np.log(np.array(weights) @ np.array([by_network, by_ngrams, by_cache]))
    assert mixed["combined"]["test"]["nll"] == pytest.approx(-combined.mean(), abs=1e-6)
    assert mixed["combined"]["test"]["nll"] < min(neural["splits"]["test"]["nll"], ngrams["splits"]["test"]["nll"])


def test_weights_come_from_valid_alone(evaluate, tiny_text, tmp_path, capsys):
    both = evaluate("interpolate=kn")["interpolation"]
    told = capsys.readouterr().out
    for said in (
        "Kneser-Ney 5-gram",
        "all combined",
        f"{both['combined']['test']['perplexity']:.2f}",
        "tuned on valid",
    ):
        assert said in told
    (tmp_path / "other.txt").write_text(tiny_text["test"].read_text())
    test_only = evaluate("interpolate=kn", "splits=[test]")["interpolation"]
    other = evaluate("interpolate=kn", "text=other.txt")["interpolation"]
    assert other["combined"]["test"] == test_only["combined"]["test"] == both["combined"]["test"]
    assert list(test_only["combined"]) == ["test"] and other["tuned_on"]["tokens"] == both["tuned_on"]["tokens"]


def test_an_estimated_file_can_be_given_again(evaluate):
    kept = evaluate("interpolate=kn", "interpolate_arpa=kept.arpa.gz", "interpolate_order=3")["interpolation"]
    read = evaluate("interpolate=[kept.arpa.gz]")["interpolation"]
    assert read["members"][1]["file"] == "kept.arpa.gz" and read["members"][1]["words_without_ngrams"] == 0
    assert read["combined"]["test"]["nll"] == pytest.approx(kept["combined"]["test"]["nll"], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["interpolate=nowhere.arpa"], "interpolate=nowhere.arpa is neither kn nor cache nor a file"),
        (["interpolate=[kn,kn]"], "must name different models"),
        (["interpolate=[]"], "must name different models"),
        (["interpolate=kn", "interpolate_order=0"], "interpolate_order must be a whole number"),
        (["interpolate=kn", "interpolate_estimator=lmplz"], "no lmplz on the PATH"),
        (["interpolate=cache", "cache_decay=2"], "cache_decay must be"),
        (["text=nowhere.txt"], "text=nowhere.txt is no file"),
    ],
)
def test_what_cannot_be_mixed_is_told_in_a_line(evaluate, capsys, monkeypatch, arguments, message):
    # Before anything is measured.
    monkeypatch.setattr("lightrnn_pl.commands.evaluate.measure_perplexity", None)
    with pytest.raises(SystemExit):
        evaluate(*arguments)
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told


def test_nothing_to_tune_on_or_no_line_ends_are_told(evaluate, tiny_text, tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        evaluate("interpolate=cache", "data=text", f"data.train={tiny_text['train']}", "data.valid=null",
                 f"data.test={tiny_text['test']}")  # fmt: skip
    assert "no text to tune the weights on; set data.valid" in capsys.readouterr().err
    train(compose_run(tmp_path / "endless", tiny_text, "data.vocabulary.end=null", "trainer.max_steps=1"))
    with pytest.raises(SystemExit):
        evaluate(f"checkpoint={tmp_path / 'endless'}", "interpolate=kn")
    assert "predicts ends of lines" in capsys.readouterr().err
