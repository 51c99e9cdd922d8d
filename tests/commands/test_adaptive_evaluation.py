"""``lightrnn-evaluate`` with a neural cache and dynamic evaluation, beside the plain perplexity."""

import json
import sys

import pytest
import yaml

from lightrnn_pl.cli.entry_points import evaluate as main
from lightrnn_pl.commands.adaptive_evaluation import DEFAULTS
from lightrnn_pl.training.experiment import train
from tests.commands.test_unused_options import ROOT
from tests.training.runs import compose_run


@pytest.fixture
def evaluate(trained, tmp_path, monkeypatch):
    """Runs ``lightrnn-evaluate`` in this process and returns its JSON report."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["x", f"checkpoint={trained}", "json=report.json", *arguments])
        main()
        return json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)

    return run


def test_defaults_are_those_of_the_configuration():
    content = yaml.safe_load((ROOT / "conf" / "evaluate.yaml").read_text(encoding="utf-8"))
    assert {key: content[key] for key in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("neural_cache", ["neural_cache=true", "neural_cache_words=[20]"]),
        (
            "dynamic_evaluation",
            ["dynamic_evaluation=rms", "dynamic_learning_rate=[0.001]", "dynamic_decay=[0]", "dynamic_tuning_words=9"],
        ),
    ],
)
def test_is_reported_beside_the_plain_perplexity(name, arguments, evaluate, tiny_text, tmp_path, capsys):
    plain = evaluate("eval_batch_size=1")
    capsys.readouterr()
    both = evaluate("eval_batch_size=1", *arguments)
    output = capsys.readouterr().out
    adaptive = both.pop(name)
    assert both == plain
    assert adaptive["tuned_on"]["split"] == "valid"
    for split in ("valid", "test"):
        assert adaptive["splits"][split]["perplexity"] < plain["splits"][split]["perplexity"]
        assert adaptive["splits"][split]["tokens"] == plain["splits"][split]["tokens"]
        assert f"{adaptive['splits'][split]['perplexity']:.2f}" in output
    assert name.replace("_", " ") in output
    # Settings are chosen on the validation text of the training corpus, whatever is evaluated.
    (tmp_path / "other.txt").write_text(tiny_text["test"].read_text())
    other = evaluate("eval_batch_size=1", "text=other.txt", *arguments)[name]
    assert other["splits"]["test"] == adaptive["splits"]["test"] and other["tuned_on"] == adaptive["tuned_on"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dynamic_evaluation=sgd"], "reads the text as one stream, but eval_batch_size is 3; set eval_batch_size=1"),
        (["dynamic_evaluation=adam"], "dynamic_evaluation must be sgd or rms"),
        (["dynamic_evaluation=sgd", "dynamic_decay=[2]"], "every value of dynamic_decay must be at most 1"),
        (["dynamic_evaluation=sgd", "dynamic_learning_rate=[]"], "dynamic_learning_rate must be a non-empty list"),
        (["dynamic_evaluation=sgd", "dynamic_segment_words=0"], "dynamic_segment_words must be an integer"),
        (["neural_cache=1"], "neural_cache must be true or false"),
        (["neural_cache=true", "neural_cache_words=[]"], "neural_cache_words must contain at least one size"),
        (["neural_cache=true", "neural_cache_theta=[-1]"], "every value of neural_cache_theta must be a number"),
    ],
)
def test_reports_invalid_arguments_in_one_line(evaluate, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("lightrnn_pl.commands.evaluate.measure_perplexity", None)  # arguments are checked before
    with pytest.raises(SystemExit):
        evaluate(*arguments)
    errors = capsys.readouterr().err
    assert message in errors and "Traceback" not in errors


def test_refuses_lines_that_are_not_read_in_order(evaluate, tiny_text, tmp_path, capsys):
    train(compose_run(tmp_path / "run", tiny_text, "data.batching=sentence", "trainer.max_steps=1"))
    with pytest.raises(SystemExit):
        evaluate(f"checkpoint={tmp_path / 'run'}", "neural_cache=true")
    assert "was trained with data.batching=sentence; omit it" in capsys.readouterr().err
