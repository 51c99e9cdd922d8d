"""The scripts for Slim Embedding's tables run whole as the README shows.

The files of this folder run in parallel.
"""

import pytest

from tests.multirun_scripts.readme_commands import check, commands_of


@pytest.mark.parametrize("command", commands_of(r"slim_table\d"))
def test_runs_and_reports_every_row(command, corpora, commands, tmp_path):
    check(command, corpora, tmp_path, commands)
