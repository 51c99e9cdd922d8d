"""Packed word tables, decoded by a simple reference implementation."""

import base64
import logging
import zlib

import numpy as np
import pytest

from lightrnn_pl.allocation.table_snapshot import TableSnapshot
from lightrnn_pl.reporting.page_writer import word_maps
from lightrnn_pl.reporting.run_groups import group_runs
from lightrnn_pl.reporting.runs import read_run
from lightrnn_pl.reporting.word_map import WordMap
from tests.reporting.folders import make_run
from tests.reporting.maps import make_run_with_tables
from tests.serving.models import tiny_bundle


def unpacked(part: str) -> bytes:
    return zlib.decompress(base64.b64decode(part))


def numbers(part: str) -> list[int]:
    content = unpacked(part)
    size = len(content) // 4
    return [sum(content[plane * size + index] << (8 * plane) for plane in range(4)) for index in range(size)]


def test_packs_words_counts_cells_and_losses():
    codes = np.array([[0, 1], [300, 2], [7, 0], [7, 1]])
    losses = np.array([0.0, 1.26, np.nan, 80.0])
    rounds = [(1, TableSnapshot.of(codes[::-1], (301, 3))), (4, TableSnapshot.of(codes, (301, 3), losses, "training"))]
    # Words are packed in descending order of their counts, whatever their original order.
    description, parts = WordMap("a run", ["d\udc80", "c", "b", "a"], np.array([1, 70_000, 5, 2**33]), rounds).packed()
    assert unpacked(parts["words"]).decode() == "a\nc\nb\nd?"
    assert numbers(parts["counts"]) == [2**32 - 1, 70_000, 5, 1]
    assert numbers(parts["cells_4"]) == [7 * 3 + 1, 300 * 3 + 2, 7 * 3, 1]
    assert numbers(parts["cells_1"]) == [1, 7 * 3, 300 * 3 + 2, 7 * 3 + 1]
    assert list(unpacked(parts["losses_4"])) == [255, 14, 0, 1]  # tenths of a nat, plus one
    assert "losses_1" not in parts
    assert description == {
        "name": "a run",
        "words": 4,
        "sides": [301, 3],
        "step": 0.1,
        "rounds": [{"number": 1, "text": ""}, {"number": 4, "text": "training"}],
    }


def test_packs_three_codes_as_a_flat_index():
    codes = np.array([[1, 2, 3], [0, 0, 1]])
    _, parts = WordMap("cube", ["a", "b"], np.array([2, 1]), [(1, TableSnapshot.of(codes, (2, 3, 4)))]).packed()
    assert numbers(parts["cells_1"]) == [12 + 2 * 4 + 3, 1]


def test_reads_the_rounds_that_a_run_has_saved(tmp_path):
    run = read_run(make_run_with_tables(tmp_path / "run"))
    word_map = WordMap.of_run(run, "it")
    bundle = tiny_bundle()
    assert word_map is not None and word_map.name == "it" and tuple(word_map.words) == bundle.vocabulary.words
    assert [number for number, _ in word_map.rounds] == [1, 2, 3]
    assert word_map.rounds[2][1].codes.tolist() == bundle.model.allocation.codes.tolist()


def test_uses_the_table_of_the_model_if_a_run_saved_none(tmp_path):
    word_map = WordMap.of_run(read_run(make_run_with_tables(tmp_path / "run", kept=False)), "it")
    ((number, snapshot),) = word_map.rounds
    assert number == 3 and np.isnan(snapshot.word_nll).all()
    assert snapshot.codes.tolist() == tiny_bundle().model.allocation.codes.tolist()


def test_runs_without_a_model_or_a_table_have_no_map(tmp_path):
    assert WordMap.of_run(read_run(make_run(tmp_path / "kept")), "it") is None
    make_run(tmp_path / "full", metrics={"components": 1})
    tiny_bundle(1).save(tmp_path / "full" / "best.ckpt")
    assert WordMap.of_run(read_run(tmp_path / "full"), "it") is None


def test_the_best_run_of_a_group_is_shown(tmp_path):
    make_run_with_tables(tmp_path / "0", 0, 120.0)
    make_run_with_tables(tmp_path / "1", 1, 110.0)
    groups = group_runs([read_run(tmp_path / "0"), read_run(tmp_path / "1")])
    (word_map,) = word_maps(groups)
    assert word_map.name.endswith("seed 1")


def test_runs_with_inconsistent_tables_are_logged_and_omitted(tmp_path, caplog):
    run = make_run_with_tables(tmp_path / "run")
    TableSnapshot.of(np.zeros((2, 2), int), (4, 4)).save(run / "tables" / "round_7.npz")
    with pytest.raises(ValueError, match=r"round_7.npz has 2 words and sides"):
        WordMap.of_run(read_run(run), "it")
    with caplog.at_level(logging.WARNING):
        assert list(word_maps(group_runs([read_run(run)]))) == []
    assert "round_7.npz" in caplog.text
