"""Moves to other rows: estimated losses compared with measured ones, and runs with the objective."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from lightrnn_pl.allocation.solvers import AuctionSolver, ExactSolver, KeepSolver
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.evaluation.perplexity import mean_nll_by_axis
from lightrnn_pl.nn.cores import LSTMCore
from lightrnn_pl.nn.embeddings import FullEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import FullOutput, RowWordOutput, SlimOutput
from lightrnn_pl.nn.sharing import ShuffledMap
from lightrnn_pl.training.experiment import train
from lightrnn_pl.training.reallocation.mover import Mover
from lightrnn_pl.training.reallocation.objectives import ColumnsObjective, RowsObjective
from lightrnn_pl.training.reallocation.objectives.rows import keep_columns
from lightrnn_pl.training.reallocation.row_moves import row_moves
from lightrnn_pl.vocabulary import Vocabulary
from tests.training.reallocation.test_objectives import CPU, WORDS, text
from tests.training.runs import compose_run

VECTORS = [FullOutput, partial(SlimOutput, num_parts=3, map=ShuffledMap, compression=0.5)]


def tiny(vectors=FullOutput, sides=(5, 6), steps_per_word=1):
    """A model with empty cells in every row."""
    torch.manual_seed(0)
    table = WordAllocation.random(WORDS, sides, 0)
    codes = torch.stack([torch.arange(WORDS) % sides[0], torch.arange(WORDS) // sides[0]], 1)
    table.assign(codes)
    vocabulary = Vocabulary([f"w{number}" for number in range(WORDS)], range(2 * WORDS, WORDS, -1))
    model = LanguageModel(
        FullEmbedding(table, 6, steps_per_word),
        LSTMCore(6, 6),
        RowWordOutput(table, 6, vocabulary, vectors),
        init_scale=1.0,
    )
    return model.double().eval()


def total_nll(model, batches):
    tokens = sum(int(batch.mask.sum()) for batch in batches)
    return sum(mean_nll_by_axis(model, batches, CPU)) * tokens


@pytest.mark.parametrize("vectors", VECTORS)
def test_moving_one_word_changes_the_loss_as_estimated(vectors):
    """With one step per word and every context sampled, the estimate of a single move is exact."""
    model, batches = tiny(vectors), text()
    moves = row_moves(model, batches, every=1, device=CPU)
    codes = model.allocation.codes.long().clone()
    before = total_nll(model, batches)
    assert sum(moves.before) == pytest.approx(before, rel=1e-9)
    assert moves.words.tolist() == moves.counts.nonzero()[:, 0].tolist()
    for index, word in list(enumerate(moves.words.tolist()))[::3]:
        old = int(codes[word, 0])
        for row in range(model.allocation.sides[0]):
            moved = codes.clone()
            if row != old:
                moved[word] = torch.tensor([row, 5])  # the last column is empty in every row
            model.allocation.assign(moved)
            change = sum(losses[index, row] - losses[index, old] for losses in (moves.row, moves.word))
            assert total_nll(model, batches) - before == pytest.approx(change, abs=2e-3)
    model.allocation.assign(codes)


def test_statistics_match_the_text():
    model, batches = tiny(), text()
    moves = row_moves(model, batches, every=1, device=CPU)
    targets = torch.cat([batch.targets[batch.mask] for batch in batches])
    assert moves.counts.tolist() == targets.bincount(minlength=WORDS).tolist()
    row = moves.row[np.arange(len(moves.words)), model.allocation.codes[moves.words, 0].long()]
    assert row.sum(dtype=np.float64) == pytest.approx(moves.before[0], rel=1e-5)
    counts = moves.counts.numpy()
    assert np.nansum(moves.word_nll * counts) == pytest.approx(sum(moves.before), rel=1e-9)


def test_words_outside_the_sample_stay():
    model, batches = tiny(), text()
    sampled = set(torch.cat([batch.targets[batch.mask] for batch in batches[::3]]).tolist())
    assert len(sampled) < WORDS
    moves, every_word = (row_moves(model, batches, every, CPU) for every in (3, 1))
    assert moves.words.tolist() == sorted(sampled)
    shared = np.searchsorted(every_word.words, moves.words)
    np.testing.assert_allclose(moves.row, every_word.row[shared], rtol=1e-6)
    old = model.allocation.codes.numpy().copy()
    proposal = RowsObjective().propose(provider(model, ExactSolver(), batches, every=3))
    assert set((proposal.codes != old).any(axis=1).nonzero()[0].tolist()) <= sampled


def provider(model, solver, batches, every=1):
    return SimpleNamespace(
        model=model,
        solver=solver,
        row_moves=lambda: row_moves(model, batches, every, CPU),
        on_first_rank=lambda solve: solve(),
    )


@pytest.mark.parametrize("solver", [ExactSolver(), AuctionSolver()])
def test_the_proposal_is_optimal(solver):
    model, batches = tiny(), text()
    proposal = RowsObjective().propose(provider(model, solver, batches))
    moves = row_moves(model, batches, every=1, device=CPU)
    sizes = model.allocation.codes[:, 0].long().bincount().tolist()  # rows keep their sizes
    free = model.allocation.codes[moves.words, 0].long().bincount(minlength=len(sizes)).tolist()
    costs = np.repeat(moves.row + moves.word, free, axis=1)  # one column per cell
    words, cells = linear_sum_assignment(costs)
    assert proposal.solution.cost <= costs[words, cells].sum() * (1 + 1e-3)
    changed = (proposal.codes != model.allocation.codes.numpy()).any(1)
    assert proposal.solution.moved == changed.sum() > 0
    # Words that stay in their row keep their column.
    assert (proposal.codes[changed, 0] != model.allocation.codes.numpy()[changed, 0]).all()
    model.allocation.assign(torch.from_numpy(proposal.codes))  # every word has a cell of its own
    assert model.allocation.codes[:, 0].long().bincount().tolist() == sizes
    assert sum(proposal.predicted) < sum(proposal.before)


def test_the_control_keeps_all_rows_and_predicts_no_change():
    model = tiny()
    proposal = RowsObjective().propose(provider(model, KeepSolver(), text()))
    assert (proposal.codes == model.allocation.codes.numpy()).all()
    assert proposal.predicted == pytest.approx(proposal.before, rel=1e-6)


def test_a_limited_number_of_words_moves():
    model = tiny()
    proposal = RowsObjective(maximum_moved=4).propose(provider(model, ExactSolver(), text()))
    assert 0 < proposal.solution.moved <= 4


def test_keep_columns():
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    chosen = keep_columns(np.array([1, 0, 0, 1]), codes, np.ones((2, 2), bool))
    assert chosen.tolist() == [[1, 0], [0, 1], [0, 0], [1, 1]]


def test_objectives_refuse_the_wrong_output():
    with pytest.raises(ValueError, match=r"reallocation=none, reallocation/objective=rows for model=row_word"):
        ColumnsObjective().check_model(tiny())
    from tests.training.reallocation.test_objectives import tiny as lightrnn

    with pytest.raises(ValueError, match=r"objective=rows requires .* got MultiComponentOutput; use model=row_word"):
        RowsObjective().check_model(lightrnn())


def test_statistics_of_training_are_refused():
    with pytest.raises(ValueError, match=r"statistics=training has no effect.* set reallocation.statistics=pass"):
        Mover(ExactSolver(), RowsObjective()).check(tiny(), "training")


def test_a_run_moves_words_and_reports_the_effect(tiny_text, tmp_path):
    short = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=4", "reallocation.max_rounds=2")
    parts = ("model.embedding.num_parts=2", "model.output.num_parts=2")
    overrides = ("model=row_word", *parts, "reallocation/objective=rows", "allocation=random")
    run = compose_run(
        tmp_path / "run",
        tiny_text,
        *short,
        "reallocation.epochs_per_round=1",
        "reallocation.sample_every=1",
        *overrides,
    )
    reallocation = train(run)["rounds"][0]["reallocation"]
    assert reallocation["objective"] == "RowsObjective" and reallocation["words_moved"] > 0
    assert reallocation["nll_predicted"] < reallocation["nll_before"]
    for name in ("before", "predicted", "measured"):
        assert sum(reallocation[f"nll_{name}_by_axis"]) == pytest.approx(reallocation[f"nll_{name}"], rel=1e-5)
