"""Proposals of the objectives, compared with loops, finite differences and measured losses."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from lightrnn_pl.allocation.reallocation_limits import restrict_problem, select_words
from lightrnn_pl.allocation.reallocation_problem import ReallocationProblem
from lightrnn_pl.allocation.solvers import AuctionSolver, AutoSolver, ExactSolver, GreedySolver, KeepSolver
from lightrnn_pl.allocation.word_allocation import WordAllocation
from lightrnn_pl.building import instantiate
from lightrnn_pl.data.batches import Batch
from lightrnn_pl.evaluation.perplexity import mean_nll_by_axis
from lightrnn_pl.nn.cores import LSTMCore
from lightrnn_pl.nn.embeddings import FullEmbedding, MultiComponentEmbedding
from lightrnn_pl.nn.language_model import LanguageModel
from lightrnn_pl.nn.outputs import MultiComponentOutput
from lightrnn_pl.testing.solver import random_problem
from lightrnn_pl.training.experiment import train
from lightrnn_pl.training.reallocation.candidate_columns import candidate_column_losses
from lightrnn_pl.training.reallocation.input_costs import input_costs
from lightrnn_pl.training.reallocation.mover import project_inputs
from lightrnn_pl.training.reallocation.objectives import (
    CandidatesObjective,
    ColumnsObjective,
    JointObjective,
    StagedObjective,
)
from lightrnn_pl.training.reallocation.objectives.columns import last_codes
from lightrnn_pl.training.reallocation.passes import TrainingPasses
from tests.training.runs import compose_run

CPU = torch.device("cpu")
WORDS = 20


def tiny(embedding=MultiComponentEmbedding, sides=(4, 5), scale=1.0):
    torch.manual_seed(0)
    table = WordAllocation.random(WORDS, sides, 0)
    model = LanguageModel(
        embedding(table, 6), LSTMCore(6, 6), MultiComponentOutput(table, 6), init_scale=scale
    ).double()
    return model.eval()


def text(num_batches=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = 1 / torch.arange(1, WORDS + 1)
    ids = torch.multinomial(weights, 3 * (7 * num_batches + 1), replacement=True, generator=generator).view(3, -1)
    mask = torch.ones(3, 7, dtype=torch.bool)
    batches = []
    for number in range(num_batches):
        window = ids[:, 7 * number : 7 * number + 8]
        batches.append(Batch(window[:, :-1], window[:, 1:], mask, torch.full((3,), number == 0)))
    batches[-1].mask[0, 3:] = False
    return batches


def passes(model, batches, every=1, solver=None):
    trainer = SimpleNamespace(
        is_global_zero=True,
        strategy=SimpleNamespace(broadcast=lambda value: value),
        datamodule=SimpleNamespace(statistics_dataloader=lambda: batches),
    )
    module = SimpleNamespace(model=model, device=CPU)
    return TrainingPasses(trainer, module, solver or ExactSolver(), sample_every=every)


def measured_nll(model, batches, codes):
    model = copy.deepcopy(model)
    model.allocation.assign(torch.as_tensor(codes))
    return mean_nll_by_axis(model, batches, CPU)


def per_word(totals, batches):
    return np.array(totals) / sum(int(batch.mask.sum()) for batch in batches)


@pytest.mark.parametrize("sides", [(4, 5), (5, 5)])
def test_columns_are_optimal_within_each_row(sides):
    model, batches = tiny(sides=sides), text()
    losses = passes(model, batches)
    proposal = ColumnsObjective().propose(losses)
    problem = losses.statistics().problem()
    old, new = problem.codes, proposal.codes
    assert (old[:, 0] == new[:, 0]).all() and (old != new).any()
    for row in range(sides[0]):
        members = np.flatnonzero(old[:, 0] == row)
        cells = old[members, 1]
        pairs = problem.costs[1][np.ix_(members, cells)].astype(float)
        best = pairs[linear_sum_assignment(pairs)].sum()
        assert problem.costs[1][members, new[members, 1]].sum() == pytest.approx(best, rel=1e-5)
    assert sum(proposal.predicted) < sum(proposal.before)
    assert proposal.predicted[0] == pytest.approx(proposal.before[0])
    assert proposal.solution.gap == 0


@pytest.mark.parametrize("objective", [ColumnsObjective, StagedObjective])
def test_the_predicted_loss_is_exact_if_each_word_has_its_own_input_vector(objective):
    """The hybrid never reads a column, so columns measured with the final rows as inputs have the predicted loss."""
    model, batches = tiny(FullEmbedding), text()
    proposal = objective().propose(passes(model, batches))
    assert (proposal.codes != model.allocation.codes.numpy()).any()
    measured = measured_nll(model, batches, proposal.codes)
    assert measured == pytest.approx(tuple(per_word(proposal.predicted, batches)), rel=1e-6)


def test_staged_rows_are_optimal_and_columns_are_measured_with_them():
    model, batches = tiny(), text()
    losses = passes(model, batches)
    problem = losses.statistics().problem()
    proposal = StagedObjective().propose(losses)
    row_cost = problem.costs[0].astype(float)
    pairs = np.repeat(row_cost, 5, axis=1)  # every row has five cells
    best = pairs[linear_sum_assignment(pairs)].sum()
    assert row_cost[np.arange(WORDS), proposal.codes[:, 0]].sum() == pytest.approx(best, rel=1e-6)
    statistics = passes(model, batches).statistics(proposal.codes)
    assert statistics.problem().codes.tolist() == proposal.codes.tolist()
    assert len({tuple(code) for code in proposal.codes.tolist()}) == WORDS


def test_statistics_with_other_codes_restore_the_current_ones():
    model, batches = tiny(), text()
    before = model.allocation.codes.clone()
    passes(model, batches).statistics(before.flip(0).numpy())
    assert torch.equal(model.allocation.codes, before)


def test_input_costs_are_the_slope_of_the_loss():
    model, batches = tiny(scale=0.5), text(num_batches=1)
    costs = input_costs(model, batches, CPU)
    (words, targets, mask, _), step = batches[0], 1e-5
    codes = model.allocation.codes.long()

    def loss(word, axis, code, size):
        """The loss if the input vector of ``word`` on ``axis`` is shifted by ``size`` toward the vector of ``code``."""
        vectors = model.embedding.axis_vectors()[axis]
        with torch.no_grad():
            steps = model.embedding(words, targets).unflatten(1, (-1, 2))
            read, half_step = (words, 0) if axis == 1 else (targets, 1)
            direction = vectors[code] - vectors[codes[word, axis]]
            steps[:, :, half_step] += size * (read == word)[..., None] * direction
            hidden, _ = model.core(steps.flatten(1, 2))
            return -float(model.output.log_probability(hidden, targets)[mask].sum())

    for word, axis, code in [(0, 0, 2), (0, 1, 3), (1, 0, 0), (2, 1, 1), (5, 0, 3)]:
        slope = (loss(word, axis, code, step) - loss(word, axis, code, -step)) / (2 * step)
        expected = costs[axis][word, code] - costs[axis][word, codes[word, axis]]
        assert slope == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_columns_that_are_never_read_have_no_input_costs():
    costs = input_costs(tiny(FullEmbedding), text(), CPU)
    assert costs[0].any() and not costs[1].any()


def test_input_costs_change_the_proposal():
    model, batches = tiny(), text()
    without = JointObjective().propose(passes(model, batches))
    with_costs = JointObjective(price_inputs=True).propose(passes(model, batches))
    assert (without.codes != with_costs.codes).any()
    # Equation 6 minimizes the output losses alone, so input costs cannot decrease them.
    assert sum(without.predicted) < sum(with_costs.predicted)


def test_candidate_column_losses_equal_those_of_the_network():
    model, batches = tiny(), text(num_batches=3)
    rows = np.stack([model.allocation.codes[:, 0].numpy(), (model.allocation.codes[:, 0].numpy() + 1) % 4], 1)
    sums, counts = candidate_column_losses(model, rows, batches, 1, CPU)
    (_, weight), (_, bias) = model.output.axis_parameters()
    expected = np.zeros(sums.shape)
    seen = np.zeros(WORDS, int)
    vectors = model.embedding.axis_vectors()[0]
    history = torch.cat([model.embedding(batch.inputs, batch.targets) for batch in batches], 1).detach()
    targets, mask = (torch.cat([getattr(batch, name) for batch in batches], 1) for name in ("targets", "mask"))
    for stream in range(3):
        for position in range(targets.shape[1]):
            if not mask[stream, position]:
                continue
            word = int(targets[stream, position])
            seen[word] += 1
            for column, row in enumerate(rows[word]):
                steps = torch.cat([history[stream, : 2 * position + 1], vectors[row][None]])
                with torch.no_grad():
                    hidden = model.core(steps[None])[0][0, -1]
                expected[word, column] -= F.linear(hidden, weight, bias).log_softmax(-1).numpy()
    assert counts.tolist() == seen.tolist()
    assert np.allclose(sums.numpy(), expected, rtol=1e-5)


def test_new_rows_are_candidates():
    model, batches = tiny(), text()
    losses = passes(model, batches)
    problem = losses.statistics().problem()
    proposal = CandidatesObjective(num_candidates=2).propose(losses)
    cost = problem.costs[0].copy()
    words = np.arange(WORDS)
    cost[words, problem.codes[:, 0]] = np.inf
    best_other = cost.argmin(1)
    new = proposal.codes[:, 0]
    assert ((new == problem.codes[:, 0]) | (new == best_other)).all() and (new != problem.codes[:, 0]).any()
    assert len({tuple(code) for code in proposal.codes.tolist()}) == WORDS


@pytest.mark.parametrize("objective", [JointObjective, StagedObjective, CandidatesObjective])
def test_limits_restrict_the_number_of_reallocated_words(objective):
    model, batches = tiny(), text()
    old = model.allocation.codes.numpy()
    unlimited = objective().propose(passes(model, batches)).codes
    limited = objective(maximum_moved=6).propose(passes(model, batches)).codes
    unchanged = objective(minimum_gain=1e9).propose(passes(model, batches)).codes
    assert (unlimited != old).any(1).sum() > 6 >= (limited != old).any(1).sum() > 0
    assert (limited != old)[:, 0].any() and len({tuple(code) for code in limited.tolist()}) == WORDS
    assert (unchanged == old).all()


@pytest.mark.parametrize("objective", [JointObjective, StagedObjective, CandidatesObjective, ColumnsObjective])
def test_the_control_keeps_all_codes_and_predicts_the_current_loss(objective):
    model, batches = tiny(), text()
    proposal = objective().propose(passes(model, batches, solver=KeepSolver()))
    assert (proposal.codes == model.allocation.codes.numpy()).all() and proposal.predicted == proposal.before
    assert measured_nll(model, batches, proposal.codes) == pytest.approx(
        tuple(per_word(proposal.predicted, batches)), rel=1e-6
    )


def test_selects_the_words_with_the_largest_gain_and_rare_words_of_their_best_rows():
    problem = random_problem(0, 20, (4, 5))
    counts = np.arange(20, 0, -1)
    cost, rows = problem.costs[0], problem.codes[:, 0]
    gain = cost[np.arange(20), rows] - cost.min(1)
    chosen = select_words(problem, counts, maximum_moved=4)
    first, second = np.argsort(-gain)[:2]
    assert {first, second} <= set(chosen) and len(chosen) <= 4
    for word in set(chosen) - {first, second}:
        assert rows[word] in cost[[first, second]].argmin(1)
        rarer = [w for w in range(20) if rows[w] == rows[word] and counts[w] < counts[word]]
        assert set(rarer) <= set(chosen)
    part = restrict_problem(problem, chosen)
    assert part.num_cells == part.num_words == len(chosen)


def test_projected_input_vectors_are_means_over_the_members():
    model = tiny()
    old = model.allocation.codes.long()
    new = old.flip(0)
    counts = torch.arange(WORDS)
    before = [vectors.clone() for vectors in model.embedding.axis_vectors()]
    project_inputs(model.embedding, old, old, counts)
    for vectors, same in zip(model.embedding.axis_vectors(), before, strict=True):
        assert torch.allclose(vectors, same)
    project_inputs(model.embedding, old, new, counts)
    for axis, vectors in enumerate(model.embedding.axis_vectors()):
        for code in range(len(vectors)):
            members = (new[:, axis] == code).nonzero()[:, 0]
            weights = counts[members].double() + 1e-3
            mean = (weights[:, None] * before[axis][old[members, axis]]).sum(0) / weights.sum()
            assert torch.allclose(vectors[code], mean)


@pytest.mark.parametrize(
    "overrides",
    [
        ["reallocation/objective=columns", "reallocation.inputs=project"],
        ["reallocation/objective=staged", "reallocation.objective.maximum_moved=10"],
        [
            "reallocation/objective=candidates",
            "reallocation.sample_every=3",
            "model=hybrid",
            "model.embedding.num_parts=2",
        ],
        ["reallocation/objective=joint", "reallocation.objective.price_inputs=true"],
        ["reallocation/objective=joint", "model=hybrid", "model.embedding.num_parts=2", "model.steps_per_word=1"],
    ],
    ids=lambda overrides: overrides[0].partition("=")[2],
)
def test_metrics_contain_predicted_and_measured_losses_per_axis(overrides, tiny_text, tmp_path):
    short = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=4", "reallocation.max_rounds=2")
    metrics = train(compose_run(tmp_path / "run", tiny_text, *short, "reallocation.epochs_per_round=1", *overrides))
    reallocation = metrics["rounds"][0]["reallocation"]
    assert reallocation["words_moved"] > 0 and 0 < reallocation["tokens_moved"] <= 1
    for name in ("before", "predicted", "measured"):
        assert sum(reallocation[f"nll_{name}_by_axis"]) == pytest.approx(reallocation[f"nll_{name}"], rel=1e-5)
    assert reallocation["nll_predicted"] < reallocation["nll_before"] or "price" in overrides[-1]


@pytest.mark.parametrize(
    "solver",
    [AuctionSolver(gap=0.5), AutoSolver(), ExactSolver(), GreedySolver()],
    ids=lambda solver: type(solver).__name__,
)
def test_columns_use_the_solver_and_bound_its_solution(solver):
    generator = np.random.default_rng(0)
    codes = WordAllocation.random(20, (4, 6), seed=0).codes.numpy().astype(np.int64)
    costs = tuple(generator.normal(size=(20, side)) for side in (4, 6))
    problem = ReallocationProblem(costs, codes)
    best, result = last_codes(problem, codes), last_codes(problem, codes, solver=solver)
    assert best.solver == "ExactSolver" and best.gap == 0
    assert result.solver == type(solver.choose(problem)).__name__
    assert result.lower_bound - 1e-9 <= best.cost <= result.cost + 1e-9
    assert np.array_equal(result.codes[:, 0], codes[:, 0])


@pytest.mark.parametrize(
    ("solver", "objective", "reported"),
    [
        ("auto", "columns", "ExactSolver"),
        ("greedy", "columns", "GreedySolver"),
        ("greedy", "staged", "GreedySolver"),
        ("greedy", "candidates", "GreedySolver"),
    ],
)
def test_a_run_reports_the_solver_that_ran(solver, objective, reported, tiny_text, tmp_path):
    short = ("trainer.limit_train_batches=4", "trainer.limit_val_batches=4", "reallocation.max_rounds=2")
    overrides = (*short, "reallocation.epochs_per_round=1", f"solver={solver}", f"reallocation/objective={objective}")
    metrics = train(compose_run(tmp_path / "run", tiny_text, *overrides))
    assert metrics["rounds"][0]["reallocation"]["solver"] == reported


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["reallocation/objective=joint", "reallocation.objective.maximum_moved=1"],
            r"maximum_moved must be at least 2.*got 1",
        ),
        (
            ["reallocation/objective=joint", "reallocation.objective.minimum_gain=-1"],
            r"minimum_gain must be a number greater than or equal to 0, in nats, got -1",
        ),
        (
            ["reallocation/objective=candidates", "reallocation.objective.num_candidates=1"],
            r"num_candidates must be .* 1",
        ),
        (["reallocation.inputs=mix"], r"reallocation\.inputs must be keep or project, got 'mix'"),
        (
            ["reallocation.sample_every=0"],
            r"reallocation\.sample_every must be an integer greater than or equal to 1, got 0",
        ),
    ],
)
def test_rejects_invalid_settings(overrides, message, tiny_text, tmp_path):
    config = compose_run(tmp_path / "run", tiny_text, *overrides)
    with pytest.raises(ValueError, match=message):
        instantiate(config.bootstrap, schedule=instantiate(config.schedule))
