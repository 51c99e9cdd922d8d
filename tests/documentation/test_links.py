"""Links between the pages and files of the repository lead to files; ``make docs`` checks headings and references."""

import re
import subprocess

import pytest

from tests.documentation.code_blocks import ROOT

_LINK = re.compile(r"(?:\]\(|src=\"|srcset=\")(?!\w+:|#)([^)\"#\s]+)")
_listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
PAGES = _listed.splitlines()


INSERTED = re.compile(r"^<!-- (file|options|command|keys): |^\.\. auto", re.MULTILINE)
"""Markers of content that is inserted when the site is built."""


def test_pages_with_inserted_content_say_so_in_the_repository():
    pages = [page for page in PAGES if INSERTED.search((ROOT / page).read_text(encoding="utf-8"))]
    assert len(pages) > 20
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in pages}
    assert [page for page, text in texts.items() if "<!-- only in the repository -->" not in text] == []


def test_the_site_omits_paragraphs_for_the_repository(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(ROOT / "docs" / "extensions")
    import repository_links

    source = ["# Title\n\nfirst\nsecond <!-- only in the repository -->\n\nthird\n"]
    repository_links._read(None, "reference/page", source)
    assert source == ["# Title\n\n\nthird\n"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    path = ROOT / page
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert [link for link in _LINK.findall(text) if not (path.parent / link).exists()] == []
