"""The tiny corpora that the commands of the README name."""

from pathlib import Path

import pytest

from tests.multirun_scripts.readme_commands import write_corpora


@pytest.fixture(scope="session")
def corpora(tmp_path_factory, tiny_text) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    write_corpora(folder, tiny_text)
    return folder
