"""The contract suites in a project outside the checkout: a correct layer passes, incorrect ones fail."""

import os
import subprocess
import sys

PROJECT = """
import torch

from lightrnn_pl.nn.outputs import FullOutput
from lightrnn_pl.testing.output import dense_softmax
from lightrnn_pl.testing.softmax_output import SoftmaxContract


class NotNormalized(FullOutput):
    def log_probability(self, hidden, targets):
        return super().log_probability(hidden, targets) - 1


class NoGradient(FullOutput):
    def output_vectors(self, words):
        return super().output_vectors(words).detach()


class TestCorrect(SoftmaxContract):
    output = FullOutput

    def make_chunked(self, allocation, hidden_dim, chunk_size):
        return self.output(allocation, hidden_dim, chunk_size)

    def dense_log_probabilities(self, output, hidden):
        return dense_softmax(hidden[:, 0] @ output.weight.T + output.bias)

    def expected_parameters(self, num_words, sides, hidden_dim):
        return num_words * (hidden_dim + 1)


class TestNotNormalized(TestCorrect):
    output = NotNormalized


class TestNoGradient(TestCorrect):
    output = NoGradient
"""


def test_a_project_of_its_own_can_use_the_suites(tmp_path):
    (tmp_path / "test_mine.py").write_text(PROJECT)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "test_mine.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 1
    assert "PASSED test_mine.py::TestCorrect::" in done.stdout, done.stdout
    assert "FAILED test_mine.py::TestCorrect::" not in done.stdout, done.stdout
    for failing in ("TestNotNormalized::test_probabilities_sum_to_one", "TestNoGradient::test_all_methods_agree_with"):
        assert f"FAILED test_mine.py::{failing}" in done.stdout, done.stdout
