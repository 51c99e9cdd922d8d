"""The contract suite of outputs that predict a word code by code.

The reference is one dense softmax per code, computed from the logits that you implement in ``dense_logits``.

Example::

    from lightrnn_pl.testing.code_output import CodeOutputContract

    class TestMyOutput(CodeOutputContract):
        def make(self, allocation, hidden_dim):
            return MyOutput(allocation, hidden_dim)

        def dense_logits(self, output, axis, hidden, codes):
            return hidden @ output.weights[axis][codes].T

        def expected_parameters(self, num_words, sides, hidden_dim):
            return sum(sides) * hidden_dim
"""

from abc import abstractmethod

import torch
from torch import Tensor

from lightrnn_pl.nn.outputs import Output
from lightrnn_pl.testing.output import OutputContract, dense_softmax


class CodeOutputContract(OutputContract):
    """Subclasses implement ``make``, ``dense_logits`` and ``expected_parameters``."""

    num_components = (1, 2, 3)

    @abstractmethod
    def dense_logits(self, output: Output, axis: int, hidden: Tensor, codes: list[int]) -> Tensor:
        """Logits of ``codes`` of an axis, (N, codes), from the hidden states of its step, (N, H)."""

    def dense_log_probabilities(self, output, hidden):
        all_codes = [tuple(codes) for codes in output.allocation.codes.tolist()]
        words = []
        for word_codes in all_codes:
            total = 0
            for axis, code in enumerate(word_codes):
                allowed = sorted({other[axis] for other in all_codes if other[:axis] == word_codes[:axis]})
                logits = self.dense_logits(output, axis, hidden[:, axis], allowed)
                total = total + dense_softmax(logits)[:, allowed.index(code)]
            words.append(total)
        return torch.stack(words, -1)
