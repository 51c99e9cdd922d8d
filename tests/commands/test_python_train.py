"""``lightrnn_pl.train``, and the other names of the package."""

import json

import pytest

import lightrnn_pl
from tests.training.runs import SMALL, compose_run


def test_trains_like_the_command_and_returns_the_best_model(tiny_text, tmp_path, monkeypatch):
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
    # Without a folder, it selects one as the command does.
    lightrnn_pl.train(overrides)
    (run,) = (tmp_path / "outputs" / "lightrnn-text").iterdir()
    assert (run / "best.ckpt").is_file()
    expected = lightrnn_pl.load(run).model.state_dict()
    from lightrnn_pl.training.experiment import train

    train(compose_run(tmp_path / "run", tiny_text, "debug=step", "name=lightrnn-text"))
    for name, values in lightrnn_pl.load(tmp_path / "run").model.state_dict().items():
        assert values.equal(expected[name])


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
