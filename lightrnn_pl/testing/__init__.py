"""Contract suites that every embedding, output, loss and solver must pass; import them to test your own classes.

To use a suite, subclass it in a test module and implement its abstract methods.  Each suite compares the class under
test with a slow reference that you write.

- :mod:`~lightrnn_pl.testing.embedding`: embeddings.
- :mod:`~lightrnn_pl.testing.output`: outputs; :mod:`~lightrnn_pl.testing.softmax_output` for outputs with one softmax
  over the vocabulary, and :mod:`~lightrnn_pl.testing.code_output` for outputs that predict a word code by code.
- :mod:`~lightrnn_pl.testing.loss`: sampled losses.
- :mod:`~lightrnn_pl.testing.solver`: solvers of the reallocation problem.
- :mod:`~lightrnn_pl.testing.utilities`: random allocations and words for your own tests.

The suites require pytest and hypothesis: ``pip install lightrnn_pl[testing]``.
"""

import pytest

_SUITES = ("code_output", "embedding", "loss", "output", "softmax_output", "solver", "utilities")

# Without this, a failed assertion of a suite would not show the values that it compared.
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _SUITES))
