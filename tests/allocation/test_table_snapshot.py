import numpy as np
import pytest

from lightrnn_pl.allocation.table_snapshot import TableSnapshot

CODES = np.array([[0, 1], [2, 0], [1, 1]], dtype=np.int64)


def test_save_and_load(tmp_path):
    path = tmp_path / "tables" / "round_1.npz"
    TableSnapshot.of(CODES, (3, 2), np.array([1.5, np.nan, 7.0]), "training").save(path)
    loaded = TableSnapshot.load(path)
    assert loaded.codes.tolist() == CODES.tolist() and loaded.sides == (3, 2) and loaded.text == "training"
    np.testing.assert_array_equal(loaded.word_nll, np.array([1.5, np.nan, 7.0], np.float32))


def test_codes_use_the_narrowest_type_and_missing_losses_are_nan():
    assert TableSnapshot.of(CODES, (3, 2)).codes.dtype == np.uint8
    assert TableSnapshot.of(CODES, (256, 2)).codes.dtype == np.uint8
    wide = TableSnapshot.of(CODES, (257, 2))
    assert wide.codes.dtype == np.uint16 and wide.text == ""
    assert np.isnan(wide.word_nll).all() and wide.word_nll.dtype == np.float32


def test_damaged_and_missing_files_are_rejected(tmp_path):
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
