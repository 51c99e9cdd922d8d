"""Atomic writing, and the errors for files that cannot be written."""

import errno
import os

import pytest

from lightrnn_pl.files import atomic_write, explain_unwritable, write_json


def test_failed_write_keeps_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, [1])
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half of")
        raise RuntimeError
    assert path.read_text() == "[\n  1\n]\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", ["EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST", "ENOENT"])
def test_reports_the_path_and_the_remedy(code):
    number = getattr(errno, code)
    explained = explain_unwritable(OSError(number, "no"), "runs/best.ckpt")
    assert explained.errno == number
    assert f"cannot write runs/best.ckpt: {os.strerror(number)}; choose another folder" in str(explained)
    assert "paths.cache_dir" in str(explained) and "hydra.run.dir" in str(explained)


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT"])
def test_reports_a_full_disk(code):
    explained = explain_unwritable(OSError(getattr(errno, code), "no"), "runs/best.ckpt")
    assert "no space left while writing runs/best.ckpt; free some space or choose another folder" in str(explained)


def test_returns_other_errors_unchanged():
    error = OSError(errno.EIO, "the disk is broken")
    assert explain_unwritable(error, "runs/best.ckpt") is error


def test_reports_a_file_with_the_name_of_a_folder(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(OSError, match=r"cannot write .*runs/file\.json: .*; choose another folder"):
        write_json(tmp_path / "runs" / "file.json", [])
    with pytest.raises(OSError, match=r"cannot write .*runs/1/file\.json: .*; choose another folder"):
        write_json(tmp_path / "runs" / "1" / "file.json", [])


def test_a_full_disk_that_torch_reports_as_another_error_is_named(tmp_path):
    with pytest.raises(OSError, match="no space left while writing"), atomic_write(tmp_path / "a.ckpt"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 11392 vs 11332")
    assert not list(tmp_path.iterdir())
