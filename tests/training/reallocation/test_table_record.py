"""The word tables of a run: one file per round, and the typical words in ``metrics.json`` and in the terminal."""

import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.checkpoint import load
from lightrnn_pl.training.experiment import train
from tests.training.runs import compose_run, kill_run

ROUNDS = (
    *("trainer.limit_train_batches=4", "trainer.limit_val_batches=4"),
    *("reallocation.max_rounds=3", "reallocation.epochs_per_round=1", "reallocation.patience=9"),
)


def tables(run_dir):
    return {path.name: TableSnapshot.load(path) for path in sorted((run_dir / "tables").iterdir())}


def same(one, other):
    return (
        one.codes.tobytes() == other.codes.tobytes()
        and np.array_equal(one.word_nll, other.word_nll, equal_nan=True)
        and (one.sides, one.text) == (other.sides, other.text)
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_text):
    run_dir = tmp_path_factory.mktemp("tables") / "run"
    return run_dir, train(compose_run(run_dir, tiny_text, *ROUNDS))


def test_one_table_per_round_with_the_losses_of_its_words(run):
    run_dir, metrics = run
    snapshots = tables(run_dir)
    assert list(snapshots) == ["round_1.npz", "round_2.npz", "round_3.npz"]
    bundle = load(run_dir)
    counts = bundle.vocabulary.counts
    for number, snapshot in enumerate(snapshots.values(), start=1):
        assert snapshot.codes.dtype == np.uint8 and list(snapshot.sides) == metrics["sides"]
        if number == 3:
            continue
        changed = (snapshot.codes != snapshots[f"round_{number + 1}.npz"].codes).any(1)
        reallocation = metrics["rounds"][number - 1]["reallocation"]
        assert int(changed.sum()) == reallocation["words_moved"] > 0
        assert snapshot.text == "training"
        # Tokens that cannot be divided evenly among the streams are dropped, so the pass misses a few occurrences.
        weighted = np.nansum(snapshot.word_nll * counts) / counts[~np.isnan(snapshot.word_nll)].sum()
        assert weighted == pytest.approx(reallocation["nll_before"], rel=0.02)
    last = snapshots["round_3.npz"]
    if bundle.model.allocation.codes.tolist() == last.codes.tolist():
        assert last.text == "validation" and np.isfinite(last.word_nll).any()
    else:
        assert last.text == "" and np.isnan(last.word_nll).all()


def test_the_last_round_has_the_losses_of_the_validation_text(tiny_text, tmp_path):
    metrics = train(compose_run(tmp_path / "run", tiny_text, *ROUNDS, "reallocation.max_rounds=1"))
    (snapshot,) = tables(tmp_path / "run").values()
    assert snapshot.text == "validation"
    words = load(tmp_path / "run").vocabulary.words
    text = tiny_text["valid"].read_text()
    tokens = text.split() + ["<eos>"] * len(text.splitlines())
    counts = np.array([tokens.count(word) for word in words])
    assert np.nansum(snapshot.word_nll * counts) / counts.sum() == pytest.approx(metrics["validation"]["nll"], rel=1e-4)
    assert (np.isnan(snapshot.word_nll) == (counts == 0)).all()


def test_typical_words_are_printed_and_stored(run, tiny_text, tmp_path, capsys):
    run_dir, metrics = run
    bundle = load(run_dir)
    words, codes, counts = bundle.vocabulary.words, bundle.model.allocation.codes, bundle.vocabulary.counts
    assert list(metrics["typical"]) == ["rows", "columns"]
    for axis, lines in enumerate(metrics["typical"].values()):
        assert [line["share"] for line in lines] == sorted((line["share"] for line in lines), reverse=True)
        for line in lines:
            members = [word for word in range(len(words)) if codes[word, axis] == line["code"]]
            members.sort(key=lambda word: -counts[word])
            assert line["words"] == [words[word] for word in members[:8]]
            assert line["share"] == pytest.approx(counts[members].sum() / counts.sum())
    assert all(list(summary["reallocation"]["typical"]) == ["rows", "columns"] for summary in metrics["rounds"][:2])
    train(compose_run(tmp_path / "run", tiny_text, *ROUNDS, "reallocation.max_rounds=2"))
    output = capsys.readouterr().out
    assert output.count("most frequent rows") == output.count("most frequent columns") == 2
    assert " ".join(metrics["typical"]["rows"][0]["words"][:1]) in output


def test_a_model_without_a_table_saves_none(tiny_text, tmp_path, capsys):
    metrics = train(compose_run(tmp_path / "run", tiny_text, *ROUNDS, "model.components=1"))
    assert not (tmp_path / "run" / "tables").exists() and "typical" not in metrics
    assert "most frequent" not in capsys.readouterr().out


def test_axis_names_of_three_codes(tiny_text, tmp_path):
    metrics = train(compose_run(tmp_path / "run", tiny_text, *ROUNDS, "model.components=3"))
    assert list(metrics["typical"]) == ["code_0s", "code_1s", "code_2s"]
    assert tables(tmp_path / "run")["round_2.npz"].codes.shape[1] == 3


def test_resume_false_deletes_the_tables_of_the_previous_run(run, tiny_text, tmp_path):
    folder = tmp_path / "run" / "tables"
    for number in (1, 7):
        TableSnapshot.of(np.zeros((1, 2), np.int64), (1, 1)).save(folder / f"round_{number}.npz")
    train(compose_run(tmp_path / "run", tiny_text, *ROUNDS, "resume=false"))
    assert all(
        same(one, other) for one, other in zip(tables(tmp_path / "run").values(), tables(run[0]).values(), strict=True)
    )
    assert len(tables(tmp_path / "run")) == 3


def test_a_killed_run_ends_with_the_same_tables(tiny_text, tmp_path):
    overrides = ("resume_point.every_steps=2", *ROUNDS)
    whole = train(compose_run(tmp_path / "whole", tiny_text, *overrides))
    kill_run("reallocation", tmp_path / "killed", tiny_text, *overrides)
    resumed = train(compose_run(tmp_path / "killed", tiny_text, *overrides))
    one, other = tables(tmp_path / "whole"), tables(tmp_path / "killed")
    assert list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    assert resumed["typical"] == whole["typical"]
    assert torch.equal(
        torch.load(tmp_path / "whole" / "best.ckpt", weights_only=True)["state"]["embedding.allocation.codes"],
        torch.load(tmp_path / "killed" / "best.ckpt", weights_only=True)["state"]["embedding.allocation.codes"],
    )
