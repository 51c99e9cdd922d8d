"""The notebook of the documentation runs."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "first_steps.ipynb"


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stored = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    done = nbclient.NotebookClient(notebook, resources={"metadata": {"path": tmp_path}}, timeout=240).execute()
    outputs = [cell.outputs for cell in done.cells if cell.cell_type == "code"]
    assert [len(output) for output in outputs] == [len(output) for output in stored]
    assert outputs[-1][0]["data"]["text/plain"].startswith("[('w16', 0.")
