"""The tiny corpora that the commands of the README name, and fast versions of the installed commands."""

from pathlib import Path

import pytest

from tests.command_server import command_folder
from tests.multirun_scripts.readme_commands import write_corpora


@pytest.fixture(scope="session")
def corpora(tmp_path_factory, tiny_text) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    write_corpora(folder, tiny_text)
    return folder


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    with command_folder(tmp_path_factory.mktemp("commands")) as folder:
        yield folder
