import numpy as np
import pytest

from lightrnn_pl.allocation.table_snapshot import TableSnapshot

CODES = np.array([[0, 1], [2, 0], [1, 1]], dtype=np.int64)


def test_reads_back_what_was_written(tmp_path):
    path = tmp_path / "tables" / "round_1.npz"
    TableSnapshot.of(CODES, (3, 2), np.array([1.5, np.nan, 7.0]), "training").save(path)
    found = TableSnapshot.load(path)
    assert found.codes.tolist() == CODES.tolist() and found.sides == (3, 2) and found.text == "training"
    np.testing.assert_array_equal(found.word_nll, np.array([1.5, np.nan, 7.0], np.float32))


def test_takes_the_smallest_type_and_leaves_unknown_losses_unknown():
    assert TableSnapshot.of(CODES, (3, 2)).codes.dtype == np.uint8
    assert TableSnapshot.of(CODES, (256, 2)).codes.dtype == np.uint8
    wide = TableSnapshot.of(CODES, (257, 2))
    assert wide.codes.dtype == np.uint16 and wide.text == ""
    assert np.isnan(wide.word_nll).all() and wide.word_nll.dtype == np.float32


def test_other_files_are_named(tmp_path):
    damaged = tmp_path / "round_1.npz"
    damaged.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(ValueError, match=r"round_1.npz is damaged"):
        TableSnapshot.load(damaged)
    np.savez(damaged, other=np.zeros(3))
    with pytest.raises(ValueError, match=r"round_1.npz is damaged"):
        TableSnapshot.load(damaged)
    np.savez(damaged, codes=CODES, sides=[3, 2], word_nll=np.zeros(2), text="")
    with pytest.raises(ValueError, match=r"shape \(3, 2\)"):
        TableSnapshot.load(damaged)
    with pytest.raises(FileNotFoundError):
        TableSnapshot.load(tmp_path / "round_9.npz")
