"""The code blocks of the README and of the pages for users run."""

import pytest

from tests.documentation.code_blocks import PAGES, Block, blocks_of, check_configurations, prepare, run


@pytest.mark.parametrize("page", filter(blocks_of, PAGES), ids=lambda page: page.stem)
def test_blocks_run(page, tiny_text, tmp_path, commands):
    blocks = blocks_of(page)
    prepare(tmp_path, tiny_text, commands)
    for block in blocks:
        run(block, tmp_path, commands)


def test_errors_are_found(tiny_text, tmp_path, commands):
    prepare(tmp_path, tiny_text, commands)
    bad = ["lightrnn-train data=texts", "pip install -e '.[no]'", "# Not run by the tests: x\nlightrnn-train no.key=1"]
    for text in bad:
        with pytest.raises(Exception, match=r"texts|\.\[no\]|no"):
            run(Block("bash", text), tmp_path, commands)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(Block("python", "1 / 0"), tmp_path, commands)
    with pytest.raises(AssertionError, match="no_such_script"):
        check_configurations("multirun_scripts/no_such_script.sh")
