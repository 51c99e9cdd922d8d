"""The commit of the package, not of another repository; the hardware, but not the host name."""

import os
import platform
import subprocess

from lightrnn_pl.training import provenance
from lightrnn_pl.training.provenance import code_commit, machine


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)


def test_the_commit_of_a_checkout(tmp_path, monkeypatch):
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    git(tmp_path, "init", "-q")
    (tmp_path / "mine.txt").write_text("a")
    git(tmp_path, "add", "mine.txt")
    git(tmp_path, "commit", "-qm", "mine")
    assert code_commit() is None  # the repository does not track the package
    git(tmp_path, "add", "pkg")
    git(tmp_path, "commit", "-qm", "code")
    git(tmp_path, "tag", "-a", "v1", "-m", "v1")
    head = git(tmp_path, "rev-parse", "HEAD").stdout.strip()
    assert code_commit() == head
    (package / "__init__.py").write_text("changed = True")
    assert code_commit() == f"{head}-dirty"


def test_no_commit_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert code_commit() is None


def test_the_machine_description_omits_the_host_name():
    description = machine()
    assert description.split(",")[0].strip() and f"{os.cpu_count()} cores" in description
    assert platform.node() not in description
