"""Links between the pages and files of the repository lead to files; ``make docs`` checks headings and references."""

import re
import subprocess

import pytest

from tests.documentation.code_blocks import ROOT

_LINK = re.compile(r"(?:\]\(|src=\"|srcset=\")(?!\w+:|#)([^)\"#\s]+)")
_listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
PAGES = _listed.splitlines()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    path = ROOT / page
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert [link for link in _LINK.findall(text) if not (path.parent / link).exists()] == []
