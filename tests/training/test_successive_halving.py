"""Successive halving: jobs of a sweep that are not among the best stop early."""

import json

import pytest

from lightrnn_pl.training.callbacks.successive_halving import SuccessiveHalving, perplexity_at
from lightrnn_pl.training.experiment import train
from tests.training.runs import compose_run


def entries(*perplexities: float | None, step: float = 1.0) -> list[dict]:
    return [{"epoch": step * (index + 1), "valid_perplexity": value} for index, value in enumerate(perplexities)]


@pytest.mark.parametrize(
    ("epoch", "expected"), [(1, 90), (2, 70), (3, 70), (4, None)], ids=["first", "second", "worse again", "not reached"]
)
def test_perplexity_at(epoch, expected):
    assert perplexity_at(entries(90, 70, 80), epoch) == expected


def test_perplexity_before_and_after_divergence():
    assert perplexity_at(entries(None), 1) == float("inf")
    assert perplexity_at(entries(9, 8, 5, step=0.6), 1) == 8
    assert perplexity_at([], 1) is None


@pytest.mark.parametrize(
    ("epochs", "rung"),
    [([1], None), ([1, 2], 2), ([1, 2, 3], None), ([4, 6], 6), ([6, 7], None), ([1, 7], 6), ([17.5, 18], 18)],
)
def test_jobs_are_compared_once_per_epoch_of_comparison(epochs, rung, tmp_path):
    assert SuccessiveHalving(str(tmp_path), first_epoch=2, reduction=3)._reached_rung(epochs) == rung


def test_the_best_third_continues(tmp_path):
    callback = SuccessiveHalving(str(tmp_path / "own"), first_epoch=1, reduction=3)
    assert callback._continues(entries(50), 1)  # the first job
    for number, perplexity in enumerate((40, 60, 70, 80)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "metrics.json").write_text(json.dumps({"history": entries(perplexity)}))
    (tmp_path / "starting").mkdir()
    # Two of five continue.
    assert callback._continues(entries(39), 1) and callback._continues(entries(50), 1)
    assert not callback._continues(entries(65), 1) and not callback._continues(entries(None), 1)
    assert callback._continues(entries(50, 48), 2)  # no other job has reached the second epoch


def test_stops_the_worse_job_of_a_sweep(tiny_text, tmp_path):
    options = ("reallocation=none", "trainer.max_epochs=3", "paths.cache_dir=${paths.run_dir}/cache")
    halving = "lightrnn_pl.training.callbacks.successive_halving.SuccessiveHalving"
    callback = (
        f"+callbacks.halving={{_target_: {halving}, run_dir: '${{paths.run_dir}}', first_epoch: 1, reduction: 2}}"
    )
    first, second = (
        train(compose_run(tmp_path / "sweep" / name, tiny_text, f"optimizer.lr={lr}", callback, *options))
        for name, lr in (("0", 0.5), ("1", 1e-4))
    )
    assert [len(metrics["history"]) for metrics in (first, second)] == [3, 1]
    assert second["status"] == "completed" and second["validation"]["perplexity"] > 0


def test_invalid_settings_are_refused(tmp_path):
    for options in ({"first_epoch": 0}, {"reduction": 1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            SuccessiveHalving(str(tmp_path), **options)
