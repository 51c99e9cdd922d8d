"""Interpolation: members score the same tokens in the same order, and weights are tuned on validation text only."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from lightrnn_pl.checkpoint import load
from lightrnn_pl.cli.entry_points import evaluate as main
from lightrnn_pl.evaluation.perplexity import measure_perplexity
from lightrnn_pl.ngrams.interpolation import scores_in_order
from lightrnn_pl.training.experiment import train
from tests.evaluation.slow_perplexity import prepare, slow_scores
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
    """Runs ``lightrnn-evaluate`` in this process and returns its JSON report."""
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
def test_scores_are_in_the_order_of_the_text(overrides, tiny_text, tmp_path):
    data, model = prepare(tiny_text, tmp_path, *overrides)
    loader = data.loader_for(data.vocabulary, "test")
    ordered = scores_in_order(model, loader, CPU)
    targets = loader.tokens[loader.tokens != data.vocabulary.begin_id] if loader.ignored is not None else loader.tokens
    measured = measure_perplexity(model, data.loader_for(data.vocabulary, "test"), data.vocabulary, CPU)
    not_end = targets != data.vocabulary.end_id
    assert len(ordered) == measured.tokens and -ordered.mean() == pytest.approx(measured.nll)
    assert math.exp(-ordered[not_end].mean()) == pytest.approx(measured.perplexity_without_end)
    if not overrides:
        expected, scores = slow_scores(data, model, tiny_text["test"].read_text().splitlines(), streams=3)
        assert np.array_equal(targets, expected) and np.allclose(ordered, scores, atol=1e-5)


def test_mixture_equals_its_definition(trained, tiny_text, evaluate):
    """Compared with a reference Kneser-Ney model, a loop over the cache, and the weights from the report."""
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
    windows = [words[max(0, index - 30) : index] for index in range(len(words))]
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


def test_tunes_weights_on_validation_text_only(evaluate, tiny_text, tmp_path, capsys):
    both = evaluate("interpolate=kn")["interpolation"]
    output = capsys.readouterr().out
    for text in (
        "Kneser-Ney 5-gram",
        "all combined",
        f"{both['combined']['test']['perplexity']:.2f}",
        "tuned on valid",
    ):
        assert text in output
    (tmp_path / "other.txt").write_text(tiny_text["test"].read_text())
    test_only = evaluate("interpolate=kn", "splits=[test]")["interpolation"]
    other = evaluate("interpolate=kn", "text=other.txt")["interpolation"]
    assert other["combined"]["test"] == test_only["combined"]["test"] == both["combined"]["test"]
    assert list(test_only["combined"]) == ["test"] and other["tuned_on"]["tokens"] == both["tuned_on"]["tokens"]


def test_every_step_has_a_progress_display(evaluate, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    evaluate("interpolate=[kn,cache]", "interpolate_order=2", "splits=[test]")
    shown = capsys.readouterr().err
    for step in ("estimating a 2-gram", "scoring valid: unigram cache", "tuning weights", "batches of valid"):
        assert step in shown, step


def test_reads_the_arpa_file_it_wrote(evaluate):
    kept = evaluate("interpolate=kn", "interpolate_arpa=kept.arpa.gz", "interpolate_order=3")["interpolation"]
    read = evaluate("interpolate=[kept.arpa.gz]")["interpolation"]
    assert read["members"][1]["file"] == "kept.arpa.gz" and read["members"][1]["words_without_ngrams"] == 0
    assert read["combined"]["test"]["nll"] == pytest.approx(kept["combined"]["test"]["nll"], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["interpolate=nowhere.arpa"], "interpolate=nowhere.arpa is not kn, cache, or an existing file"),
        (["interpolate=[kn,kn]"], "must name distinct models"),
        (["interpolate=[]"], "must name distinct models"),
        (["interpolate=kn", "interpolate_order=0"], "interpolate_order must be an integer"),
        (["interpolate=kn", "interpolate_estimator=lmplz"], "lmplz is not on the PATH"),
        (["interpolate=cache", "cache_decay=2"], "cache_decay must be"),
        (["text=nowhere.txt"], "text=nowhere.txt is not a file"),
    ],
)
def test_reports_invalid_arguments_in_one_line(evaluate, capsys, monkeypatch, arguments, message):
    # Arguments must be checked before anything is measured.
    monkeypatch.setattr("lightrnn_pl.commands.evaluate.measure_perplexity", None)
    with pytest.raises(SystemExit):
        evaluate(*arguments)
    errors = capsys.readouterr().err
    assert message in errors and "Traceback" not in errors


def test_requires_validation_text(evaluate, tiny_text, capsys):
    with pytest.raises(SystemExit):
        evaluate("interpolate=cache", "data=text", f"data.train={tiny_text['train']}", "data.valid=null",
                 f"data.test={tiny_text['test']}")  # fmt: skip
    assert "requires a validation text to tune the weights on; set data.valid" in capsys.readouterr().err


@pytest.mark.parametrize("begin", ["null", "'<s>'"])
def test_without_end_markers_the_context_of_ngrams_extends_across_lines(begin, evaluate, tiny_text, tmp_path):
    """As in LightRNN's Table 5; the words are those on which the neural model is evaluated."""
    overrides = ["data.vocabulary.end=null", f"data.vocabulary.begin={begin}", "data.vocabulary.min_count=20"]
    train(compose_run(tmp_path / "run", tiny_text, *overrides, "trainer.max_steps=1"))
    report = evaluate(f"checkpoint={tmp_path / 'run'}", "interpolate=[kn,cache]", "interpolate_order=3")
    mixed = report["interpolation"]
    neural, ngrams, _ = mixed["members"]
    assert neural["splits"]["test"]["nll"] == pytest.approx(report["splits"]["test"]["nll"])
    vocabulary = load(tmp_path / "run").vocabulary
    words = {
        split: [word if word in vocabulary else "<unk>" for word in tiny_text[split].read_text().split()]
        for split in ("train", "test")
    }
    slow = SlowKneserNey([words["train"]], [word for word in vocabulary.words if word != vocabulary.begin], 3)
    by_ngrams = [slow.probability(w, (BEGIN, *words["test"][max(0, i - 2) : i])) for i, w in enumerate(words["test"])]
    metrics = ngrams["splits"]["test"]
    assert metrics["nll"] == pytest.approx(-np.log(by_ngrams).mean(), abs=1e-10)
    assert metrics["perplexity_without_end"] == metrics["perplexity"]
    assert mixed["context"].startswith("n-grams: across lines")


def test_a_corpus_too_large_for_memory_is_refused_before_it_is_read(evaluate, monkeypatch, capsys):
    monkeypatch.setattr("lightrnn_pl.ngrams.members.free_memory", lambda: 1000)
    monkeypatch.setattr("lightrnn_pl.commands.evaluate.measure_perplexity", None)
    with pytest.raises(SystemExit):
        evaluate("interpolate=kn", "interpolate_order=4")
    assert "lmplz -o 4" in capsys.readouterr().err
