"""Contract suites that every embedding, output, loss and solver must pass; import them to test your own.

Requires pytest and hypothesis (``pip install lightrnn_pl[testing]``).  Subclass a suite and implement its ``make``.
"""
