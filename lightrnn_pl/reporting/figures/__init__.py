"""The figures of a report, one module per kind; :func:`write_figures` writes all of them."""

from lightrnn_pl.reporting.figures.reallocations import narrow_variant
from lightrnn_pl.reporting.figures.registry import CAPTIONS, write_figures

__all__ = ["CAPTIONS", "narrow_variant", "write_figures"]
