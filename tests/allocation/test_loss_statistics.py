"""Loss statistics compared with loops over tokens in float64."""

import numpy as np
import pytest
import torch

from lightrnn_pl.allocation.loss_statistics import LossStatistics
from lightrnn_pl.allocation.solvers import AuctionSolver
from lightrnn_pl.allocation.word_allocation import WordAllocation, balanced_sides
from lightrnn_pl.testing.utilities import random_allocation


def shuffled_codes(allocation, seed):
    """Another assignment to the same cells."""
    order = torch.randperm(allocation.num_words, generator=torch.Generator().manual_seed(seed))
    return allocation.codes[order].long()


def random_model(sides, hidden_dim, num_tokens, num_words, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(side, hidden_dim, generator=generator) * scale for side in sides]
    biases = [torch.randn(side, generator=generator) for side in sides]
    # Zipf's law, so that some words are frequent and some do not occur.
    frequencies = 1 / torch.arange(1, num_words + 1)
    words = torch.multinomial(frequencies, num_tokens, replacement=True, generator=generator)
    hidden = torch.randn(num_tokens, len(sides), hidden_dim, generator=generator)
    return weights, biases, words, hidden


def nll_by_loops(weights, biases, words, hidden, codes):
    """Negative log-likelihood by axis: a softmax over the codes that follow the word's prefix in ``codes``."""
    codes = codes.tolist()
    continuations = {}
    for word_codes in codes:
        for axis, code in enumerate(word_codes):
            continuations.setdefault(tuple(word_codes[:axis]), set()).add(code)
    totals = [0.0] * len(weights)
    for word, states in zip(words.tolist(), hidden.double(), strict=True):
        for axis, code in enumerate(codes[word]):
            allowed = sorted(continuations[tuple(codes[word][:axis])])
            logits = weights[axis].double()[allowed] @ states[axis] + biases[axis].double()[allowed]
            totals[axis] -= float(logits.log_softmax(0)[allowed.index(code)])
    return totals


def gather(allocation, weights, biases, words, hidden, storage="auto", batch=37):
    statistics = LossStatistics(allocation, weights, biases, storage)
    for part_words, part_hidden in zip(words.split(batch), hidden.split(batch), strict=True):
        statistics.update(part_words, part_hidden)
    return statistics


TABLES = {
    "full": WordAllocation.random(20, (4, 5), 0),
    "filled in order": WordAllocation.random(17, (4, 5), 0),
    "an empty row": WordAllocation.random(13, (4, 5), 0),
    "scattered": random_allocation(12, (4, 5), 3),
    "one axis": WordAllocation.random(7, (9,), 0),
    "cube": WordAllocation.random(21, (3, 3, 3), 0),
    "scattered cube": random_allocation(14, (3, 4, 3), 5),
}


@pytest.mark.parametrize("storage", ["hidden", "scores"])
@pytest.mark.parametrize("name", TABLES)
def test_measured_and_predicted_losses_match_loops(name, storage):
    allocation = TABLES[name]
    model = random_model(allocation.sides, 6, 400, allocation.num_words)
    statistics = gather(allocation, *model, storage)
    assert statistics.count == 400
    before = nll_by_loops(*model, allocation.codes)
    assert statistics.total_nll() == pytest.approx(sum(before), rel=1e-6)
    assert statistics.nll_by_axis(allocation.codes) == pytest.approx(before, rel=1e-6)
    for seed in range(3):
        codes = shuffled_codes(allocation, seed)
        after = nll_by_loops(*model, codes)
        assert statistics.nll_by_axis(codes) == pytest.approx(after, rel=1e-6)
        assert statistics.predicted_nll(codes.numpy()) == pytest.approx(sum(after), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in TABLES if "cube" not in name])
def test_costs_equal_the_predicted_loss(name):
    allocation = TABLES[name]
    statistics = gather(allocation, *random_model(allocation.sides, 6, 400, allocation.num_words))
    problem = statistics.problem()
    assert np.array_equal(problem.codes, allocation.codes.numpy())
    assert np.array_equal(problem.available, (allocation.words() >= 0).numpy())
    assert problem.cost(problem.codes) == pytest.approx(statistics.total_nll(), rel=1e-6)
    for seed in range(3):
        codes = shuffled_codes(allocation, seed)
        assert problem.cost(codes.numpy()) == pytest.approx(statistics.predicted_nll(codes), rel=1e-6)


@pytest.mark.parametrize("name", ["full", "filled in order", "scattered", "one axis", "cube"])
def test_the_problem_of_the_last_axis_has_the_loss_of_codes_that_differ_there(name):
    allocation = TABLES[name]
    statistics = gather(allocation, *random_model(allocation.sides, 6, 400, allocation.num_words))
    problem = statistics.last_axis_problem()
    assert all(cost.strides[1] == 0 for cost in problem.costs[:-1])
    codes = allocation.codes.long().numpy().copy()
    assert problem.cost(codes) == pytest.approx(statistics.predicted_nll(codes), rel=1e-5)
    group = (codes[:, :-1] == codes[0, :-1]).all(axis=1)
    codes[group, -1] = np.roll(codes[group, -1], 1)
    assert problem.cost(codes) == pytest.approx(statistics.predicted_nll(codes), rel=1e-5)
    np.testing.assert_allclose(problem.costs[-1], statistics.problem().costs[-1])


def test_costs_of_a_cube_never_underestimate_the_loss():
    allocation = TABLES["cube"]
    statistics = gather(allocation, *random_model(allocation.sides, 6, 400, allocation.num_words))
    problem = statistics.problem()
    for seed in range(5):
        codes = shuffled_codes(allocation, seed)
        assert problem.cost(codes.numpy()) >= statistics.predicted_nll(codes) * (1 - 1e-6)


def test_mask_that_allows_only_improbable_codes():
    """The words of the last row have almost no probability until its empty cells are masked."""
    allocation = WordAllocation.in_order(7, (2, 6))
    weights, biases, words, hidden = random_model((2, 6), 4, 50, 7)
    biases[1][0] = -60.0
    statistics = gather(allocation, weights, biases, words, hidden)
    codes = shuffled_codes(allocation, 1)
    after = nll_by_loops(weights, biases, words, hidden, codes)
    assert statistics.nll_by_axis(codes) == pytest.approx(after, rel=1e-6)


@pytest.mark.parametrize("storage", ["hidden", "scores"])
def test_mean_losses_of_the_words_add_up_to_the_total(storage):
    allocation = TABLES["filled in order"]
    weights, biases, words, hidden = random_model(allocation.sides, 6, 400, allocation.num_words)
    words = torch.where(words == 2, 0, words)
    statistics = gather(allocation, weights, biases, words, hidden, storage)
    means = statistics.mean_nll_by_word(allocation.codes)
    assert np.isnan(means[2]) and np.isfinite(np.delete(means, 2)).all()
    for word in (0, 1):
        alone = gather(allocation, weights, biases, words[words == word], hidden[words == word])
        assert means[word] == pytest.approx(alone.total_nll() / alone.count, rel=1e-6)
    counts = statistics.counts.numpy()
    assert np.nansum(means * counts) == pytest.approx(statistics.total_nll(), rel=1e-6)


def test_sums_are_precise_for_frequent_and_rare_words():
    """Sums over 200,000 tokens are within 1e-6 of the sums in float64."""
    generator = torch.Generator().manual_seed(0)
    words = torch.where(torch.rand(200_000, generator=generator) < 0.95, 0, 1)
    words[-1] = 2
    hidden = torch.rand(200_000, 1, 3, generator=generator)
    statistics = gather(
        WordAllocation.in_order(3, (3,)), [torch.eye(3)], [torch.zeros(3)], words, hidden, "hidden", batch=50
    )
    sums = statistics._sums.read(torch.arange(3))[:, :3]
    for word in range(3):
        exact = hidden[words == word, 0].double().sum(0)
        assert torch.allclose(sums[word], exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("storage", ["hidden", "scores"])
def test_a_factor_of_one_changes_no_bit(storage):
    allocation = TABLES["filled in order"]
    model = random_model(allocation.sides, 6, 400, allocation.num_words)
    statistics, scaled = gather(allocation, *model, storage, batch=5), gather(allocation, *model, storage, batch=5)
    scaled.scale(1.0)
    assert np.array_equal(scaled.counts, statistics.counts) and scaled.total_nll() == statistics.total_nll()
    for one, other in zip(statistics.problem(np.float64).costs, scaled.problem(np.float64).costs, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("storage", ["hidden", "scores"])
def test_restored_statistics_continue_with_the_same_bits(storage, tmp_path):
    """Half of the updates before the state is saved: some words have changed to float64 by then, others have not."""
    allocation = TABLES["filled in order"]
    weights, biases, words, hidden = random_model(allocation.sides, 6, 400, allocation.num_words)
    whole = gather(allocation, weights, biases, words, hidden, storage, batch=5)
    half = gather(allocation, weights, biases, words[:200], hidden[:200], storage, batch=5)
    torch.save(half.state_dict(), tmp_path / "state")
    restored = LossStatistics(allocation, weights, biases, storage)
    restored.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert 0 < restored._sums._num_frequent < whole._sums._num_frequent
    for start in range(200, 400, 5):
        restored.update(words[start : start + 5], hidden[start : start + 5])
    assert torch.equal(restored.counts, whole.counts) and restored.total_nll() == whole.total_nll()
    for one, other in zip(whole.problem(np.float64).costs, restored.problem(np.float64).costs, strict=True):
        assert np.array_equal(one, other)


def test_auto_storage_selects_the_narrower():
    allocation = WordAllocation.in_order(30, balanced_sides(30, 2))
    wide = random_model(allocation.sides, 8, 5, 30)
    narrow = random_model(allocation.sides, 4, 5, 30)
    assert LossStatistics(allocation, *wide[:2])._stores_hidden == [False, False]
    assert LossStatistics(allocation, *narrow[:2])._stores_hidden == [True, True]


def test_long_computations_log_their_progress(monkeypatch, caplog):
    monkeypatch.setattr("lightrnn_pl.allocation.progress_log._INTERVAL", 0)
    monkeypatch.setattr("lightrnn_pl.allocation.loss_statistics._CHUNK", 5)
    allocation = WordAllocation.random(17, (4, 5), 0)
    statistics = gather(allocation, *random_model(allocation.sides, 6, 100, 17))
    with caplog.at_level("INFO"):
        statistics.last_axis_problem()
    assert "Computed the losses of 15 of 17 words." in caplog.text


def test_later_reallocations_have_no_effect():
    allocation = WordAllocation.random(17, (4, 5), 0)
    model = random_model(allocation.sides, 6, 100, 17)
    statistics = gather(allocation, *model)
    before = statistics.problem().codes.copy()
    allocation.assign(shuffled_codes(allocation, 0))
    assert np.array_equal(statistics.problem().codes, before)


def test_mismatched_shapes_are_rejected():
    allocation = WordAllocation.in_order(20, (4, 5))
    weights, biases, *_ = random_model((5, 4), 6, 1, 20)
    with pytest.raises(ValueError, match="table with sides"):
        LossStatistics(allocation, weights, biases)
    weights, biases, *_ = random_model((4, 5), 6, 1, 20)
    with pytest.raises(ValueError, match="table with sides"):
        LossStatistics(allocation, weights, biases[:1])


def _reduce_on_rank(rank, world_size, address, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
    allocation = WordAllocation.random(17, (4, 5), 0)
    weights, biases, words, hidden = random_model(allocation.sides, 6, 3000, 17)
    statistics = gather(allocation, weights, biases, words[rank::world_size], hidden[rank::world_size])
    statistics.all_reduce()
    codes = AuctionSolver().solve(statistics.problem()).codes
    results[rank] = (statistics.total_nll(), statistics.count, statistics.problem().costs, codes)
    torch.distributed.destroy_process_group()


def test_two_ranks_agree_with_a_single_process(tmp_path):
    context = torch.multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results = manager.dict()
        arguments = (2, f"file://{tmp_path}/meeting", results)
        torch.multiprocessing.start_processes(_reduce_on_rank, arguments, nprocs=2, start_method="fork")
        first, second = results[0], results[1]
    allocation = WordAllocation.random(17, (4, 5), 0)
    single = gather(allocation, *random_model(allocation.sides, 6, 3000, 17))
    assert first[:2] == second[:2] == (pytest.approx(single.total_nll(), rel=1e-6), 3000)
    for first_costs, second_costs, expected in zip(first[2], second[2], single.problem().costs, strict=True):
        assert np.array_equal(first_costs, second_costs)
        # Relative to the largest cost of the word, because its smallest costs are differences of larger sums.
        assert (abs(first_costs - expected) <= 1e-6 * expected.max(axis=1, keepdims=True)).all()
    codes = AuctionSolver().solve(single.problem()).codes
    assert np.array_equal(first[3], codes) and np.array_equal(second[3], codes)
