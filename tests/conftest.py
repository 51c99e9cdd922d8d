"""Fixtures shared by all tests: a tiny text, and the real corpora if they are available."""

from pathlib import Path

import hypothesis
import jaxtyping
import numpy as np
import pytest
import torch

from tests.command_server import command_folder
from tests.composition import compose_faster

torch.set_num_threads(1)
compose_faster()
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

TESTS = Path(__file__).parent
CHECKS_SHAPES = {"nn", "allocation", "inference"}
"""The folders whose tests check the annotated shapes of all arrays, which takes a fifth of the time of a tiny run."""

SLOWEST = {
    *("documentation/test_code_blocks.py", "documentation/test_notebook.py", "test_configuration_keys.py"),
    *(f"multirun_scripts/test_{name}.py" for name in ("lightrnn", "slim_figures", "slim_tables")),
    *("commands/test_sweep.py", "robustness/test_chaos.py", "test_benchmarks.py", "test_packaging.py"),
    *("training/tracking/test_wandb_runs.py", "training/test_resume.py", "test_paper_tables_page.py"),
}

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check shapes only in some folders; in the others, the code runs as for users."""
    folder = item.path.relative_to(TESTS).parts[0]
    jaxtyping.config.update("jaxtyping_disable", folder not in CHECKS_SHAPES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: item.path.relative_to(TESTS).as_posix() not in SLOWEST)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora next to the checkout.  Tests that need it are skipped if it does not exist."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the corpora in ../shared/data, which are not part of the project")
    return SHARED_DATA


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    """A folder with fast versions of the installed commands."""
    with command_folder(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory) -> dict[str, Path]:
    """Three files of generated sentences with a learnable pattern: most words are followed by a fixed next word."""
    folder = tmp_path_factory.mktemp("text")
    generator = np.random.default_rng(0)
    words = [f"w{number:02d}" for number in range(47)]
    files = {}
    for split, lines in (("train", 400), ("valid", 60), ("test", 60)):
        text = []
        for _ in range(lines):
            sentence = [int(generator.zipf(1.5)) % len(words)]
            for _ in range(generator.integers(2, 9)):
                follows = (3 * sentence[-1] + 1) % len(words)
                sentence.append(follows if generator.random() < 0.7 else int(generator.zipf(1.5)) % len(words))
            text.append(" ".join(words[word] for word in sentence))
        files[split] = folder / f"{split}.txt"
        files[split].write_text("\n".join(text) + "\n", encoding="utf-8")
    return files
