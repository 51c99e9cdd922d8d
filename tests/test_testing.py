"""The contract suites in a project outside the checkout: a correct layer passes, incorrect ones fail."""

import os
import subprocess
import sys

import pytest

PROJECT = """
import torch

from lightrnn_pl.nn.outputs import FullOutput
from lightrnn_pl.testing.output import dense_softmax
from lightrnn_pl.testing.softmax_output import SoftmaxContract


class MyOutput(FullOutput):
    ...


class TestMyOutput(SoftmaxContract):
    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return MyOutput(allocation, hidden_dim, chunk_size)

    def dense_log_probabilities(self, output, hidden):
        return dense_softmax(hidden[:, 0] @ output.weight.T + output.bias)

    def expected_parameters(self, num_words, sides, hidden_dim):
        return num_words * (hidden_dim + 1)
"""


@pytest.mark.parametrize(
    ("method", "failing_test"),
    [
        ("", None),
        (
            "def log_probability(self, hidden, targets):\n        return super().log_probability(hidden, targets) - 1",
            "test_probabilities_sum_to_one",
        ),
        (
            "def output_vectors(self, words):\n        return super().output_vectors(words).detach()",
            "test_all_methods_agree_with_gradients",
        ),
    ],
    ids=["correct", "not normalized", "no gradient"],
)
def test_a_project_of_its_own_can_use_the_suites(method, failing_test, tmp_path):
    (tmp_path / "test_mine.py").write_text(PROJECT.replace("...", method or "..."))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", failing_test or "", "test_mine.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    if failing_test is None:
        assert done.returncode == 0 and "passed" in done.stdout, done.stdout
    else:
        assert done.returncode == 1 and f"TestMyOutput::{failing_test}" in done.stdout, done.stdout
